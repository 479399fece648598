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


def test_good_files_are_accepted(base: Path) -> None:
    train.check_configuration(base / "input" / "config")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("hyperparameters.json", b'{"lr": "0.1"', "hyperparameters.json as JSON: Expecting"),
        ("hyperparameters.json", b"", "hyperparameters.json as JSON: Expecting value"),
        ("hyperparameters.json", b"[1]", "expected a JSON object in"),
        ("hyperparameters.json", b"\xff" * 9000, "hyperparameters.json as JSON: 'utf-8' codec"),
        ("hyperparameters.json", b"[" * 90000, "hyperparameters.json as JSON: "),
        ("inputdataconfig.json", None, "expected inputdataconfig.json in"),
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
