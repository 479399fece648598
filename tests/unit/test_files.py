from pathlib import Path

import pytest

from dogbreeds.system.files import atomic_write, remove_partial, write_json


def test_a_file_appears_under_its_name_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with atomic_write(file) as partial:
        partial.write_text("half")
        assert list(tmp_path.glob("*.safetensors")) == []
    assert file.read_text() == "half"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_json(file, {"epoch": 1})
    with pytest.raises(TypeError):
        write_json(file, {"epoch": object()})
    assert list(tmp_path.iterdir()) == [file]
    assert '"epoch": 1' in file.read_text()


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    whole, hidden = tmp_path / "model.safetensors", tmp_path / ".keep"
    whole.touch()
    hidden.touch()
    killed = atomic_write(whole)
    assert killed.__enter__().exists()  # and never __exit__: the process was killed
    remove_partial(tmp_path)
    assert sorted(tmp_path.iterdir()) == [hidden, whole]
    remove_partial(tmp_path / "missing")
