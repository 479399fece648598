import pytest

from dogbreeds.labels import Breed, parse_folder


@pytest.mark.parametrize(
    ("folder", "breed"),
    [
        ("069.French_bulldog", Breed("069", "French_bulldog")),
        ("1.A.B", Breed("1", "A.B")),
        ("cats", Breed("cats", "cats")),
        ("003.", Breed("003.", "003.")),
        ("012.Épagneul", Breed("012", "Épagneul")),
    ],
)
def test_folder_names_become_breeds(folder: str, breed: Breed) -> None:
    assert parse_folder(folder) == breed
