import pytest

from dogbreeds.model.classes import PhotoClass, parse_folder


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("069.French_bulldog", PhotoClass("069", "French_bulldog")),
        ("1.A.B", PhotoClass("1", "A.B")),
        ("cats", PhotoClass("cats", "cats")),
        ("003.", PhotoClass("003.", "003.")),
        ("012.Épagneul", PhotoClass("012", "Épagneul")),
    ],
)
def test_folder_names_become_classes(folder: str, expected: PhotoClass) -> None:
    assert parse_folder(folder) == expected
