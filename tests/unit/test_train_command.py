"""Configuration files that `train` cannot read fail the job in one line."""

import json
from pathlib import Path

import pytest

from dogbreeds.entrypoint import train


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    config = tmp_path / "input" / "config"
    config.mkdir(parents=True)
    (config / "hyperparameters.json").write_text("{}")
    (config / "inputdataconfig.json").write_text("{}")
    resources = {"current_host": "algo-1", "hosts": ["algo-1"]}
    (config / "resourceconfig.json").write_text(json.dumps(resources))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    return tmp_path


def test_good_files_are_accepted(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("sagemaker_training.cli.train.main", lambda: ran.append("train"))
    assert train.main() == 0
    assert ran == ["train"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("hyperparameters.json", b'{"lr": "0.1"', "config/hyperparameters.json: Expecting"),
        ("hyperparameters.json", b"", "config/hyperparameters.json: Expecting value"),
        ("hyperparameters.json", b"[1]", "config/hyperparameters.json: got [1]"),
        ("hyperparameters.json", b"\xff" * 9000, "config/hyperparameters.json: 'utf-8' codec"),
        ("hyperparameters.json", b"[" * 90000, "config/hyperparameters.json: "),
        ("inputdataconfig.json", None, "config/inputdataconfig.json: [Errno 2] No such file"),
        ("resourceconfig.json", b"{}", "expected a JSON object with current_host and hosts in"),
    ],
)
def test_a_broken_or_missing_file_is_one_line_of_the_failure_file(
    base: Path, name: str, content: bytes | None, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = base / "input" / "config" / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert train.main() == 1
    line = (base / "output" / "failure").read_text()
    assert reason in line
    assert len(line.splitlines()) == 1
    assert len(line) <= 1024
    assert capsys.readouterr().err == f"error: {line}\n"
