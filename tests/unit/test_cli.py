"""The habits of the command line, whatever the command."""

import io
import os
import re
import sys
from pathlib import Path

import pytest

from dogbreeds import __version__
from dogbreeds.cli.main import cli, main
from dogbreeds.job_output.metrics import METRICS
from dogbreeds.local import epochs
from dogbreeds.system import terminal

COMMANDS = cli.list_commands(None)  # type: ignore[arg-type]
PROGRAM = [sys.executable, "-m", "dogbreeds.cli.main"]

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS), ["data", "check"]])
@pytest.mark.parametrize("columns", ["60", "200"])
def test_help_fits_the_terminal(
    arguments: list[str], columns: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main([*arguments, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= min(int(columns), 100)


def test_help_shows_groups_defaults_ranges_and_exit_codes(capsys: Output) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"The AWS account:\n  config .*\n  push ", out)
    assert "130 Ctrl-C" in out
    assert main(["train", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Settings [training]: --instance-type" in out
    assert "[60 to 2419200; default: 14400]" in out
    assert "--on [local|docker|sagemaker]" in out
    assert "[default: sagemaker]" in out


def test_the_version_is_shown(capsys: Output) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"dogbreeds {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["delete", "--al", "--y"], "No such option '--al'. (Did you mean one of: '--all'"),
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "--on=moon"], "'moon' is not one of 'local', 'docker', 'sagemaker'"),
        (["tune", "--on=docker"], "'docker' is not one of 'local', 'sagemaker'"),
        (["train", "--on=local"], "--on local needs DATA, a photos directory"),
        (["train", "photos", "--on=local", "--spot"], "no effect with --on local: --spot"),
        (["tune", "photos", "--on=local", "--no-wait"], "no effect with --on local: --no-wait"),
        (["deploy", "m", "--on=docker", "--kind=async"], "no effect with --on docker: --kind"),
        (["train", "--set", "epoch=3"], "unknown hyperparameter epoch: did you mean epochs?"),
        (["data", "split", "a", "b", "--valid=1"], "1.0 is not in the range 0<=x<1"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: Output, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_package_that_is_missing_is_named(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("dogbreeds.cloud.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    assert main(["list"]) == 1
    assert "the package boto3 is missing: run make cloud" in capsys.readouterr().err


def test_a_table_is_aligned_and_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [("a" * 70, 0.95871, None), ("b", 1234.56, 7)]
    lines = terminal.table(rows, ("name", "value", "count")).splitlines()
    assert lines == [
        f"{'name':<70}   value  count",
        f"{'a' * 70}  0.9587      -",
        f"{'b':<70}    1235      7",
    ]
    monkeypatch.setattr(
        sys, "stdout", type("Terminal", (io.StringIO,), {"isatty": lambda _: True})()
    )
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, terminal.table(rows).splitlines())) <= 40
    assert "\x1b" not in terminal.table([("\x1b[31m.jpg",)])


LINES = (
    b"Training Env:\n{\n}\nTraining resnet18 from random weights on cpu: 6 classes\n"
    b"\rEpoch 1/2:   0%|          | 0/224 [00:00<?, ? photos/s]"
    b"\rEpoch 1/2:  14%|#4        | 32/224 [00:21<02:06,  1.52 photos/s]\n"
    b"Epoch 1/2: train loss 1.6898\n"
    b"[metrics] epoch=1; train_loss=1.68979; test_loss=0.5; test_accuracy=0.333333;"
    b" photos_per_second=1.7; peak_memory_mb=10\n"
    b"[metrics] epoch=2; train_loss=0.813; test_loss=0.25; test_accuracy=0.5;"
    b" photos_per_second=1.5; peak_memory_mb=10\n"
)


@pytest.mark.parametrize("on_terminal", [False, True])
def test_a_training_shows_a_row_per_epoch_and_one_bar_and_logs_all(
    on_terminal: bool, tmp_path: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: on_terminal)
    output, job = os.pipe()
    os.write(job, LINES)
    os.close(job)
    with os.fdopen(output, "rb") as stream:
        epochs.show(stream, tmp_path / "train.log")
    assert (tmp_path / "train.log").read_bytes() == LINES
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "Training resnet18 from random weights on cpu: 6 classes",
        "epoch  train loss  test loss  test acc.  photos/s",
        "    1      1.6898     0.5000     33.33%       1.7",
        "    2      0.8130     0.2500     50.00%       1.5",
    ]
    assert ("Epoch 1/2:  14%" in captured.err) is on_terminal


def test_a_row_of_all_metrics_fits_a_terminal_of_80_columns(tmp_path: Path, capsys: Output) -> None:
    output, job = os.pipe()
    pairs = "; ".join(f"{name}=1" for name in METRICS)
    os.write(job, f"[metrics] epoch=1000; {pairs}\n".encode())
    os.close(job)
    with os.fdopen(output, "rb") as stream:
        epochs.show(stream, tmp_path / "train.log")
    header, row = capsys.readouterr().out.splitlines()
    assert len(header) == len(row) < 80


@pytest.mark.parametrize("on", ["local", "docker"])
def test_missing_photos_are_told_before_a_model_is_loaded(
    on: str, tmp_path: Path, capsys: Output
) -> None:
    photos = tmp_path / "missing"
    assert main(["transform", str(tmp_path / "model.tar.gz"), str(photos), f"--on={on}"]) == 1
    assert f"no such photo: {photos}" in capsys.readouterr().err
