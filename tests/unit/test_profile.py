"""What `dogbreeds profile` makes of system metrics."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from dogbreeds.cli.main import main
from dogbreeds.job_output.profile import (
    COLUMNS,
    ProfileError,
    read_profile,
    rows,
    usage,
    usage_table,
    verdicts,
)
from dogbreeds.monitoring.system_metrics import Sample, write_samples

START = 1795378560.25  # a quarter of a second after a full minute


def sample(
    cpu: float = 50, wait: float = 0, memory: float = 30, gpu: float | None = None, read: float = 0
) -> list[Sample]:
    found: list[Sample] = [
        ("cpu", "cpu0", "CPUUtilization", cpu),
        ("cpu", "cpu0", "I/OWaitPercentage", wait),
        ("memory", "MemoryUsedPercent", "", memory),
        ("i/o", "ReadThroughputInBytesPerSecond", "", read),
    ]
    return found if gpu is None else [*found, ("gpu", "gpu0", "GPUUtilization", gpu)]


def write(folder: Path, samples: Iterable[list[Sample]], *phases: tuple[str, float, float]) -> Path:
    """Write samples of every half second, and phases by their seconds after the first."""
    for position, found in enumerate(samples):
        write_samples(folder / "profiler", "algo-1", START + position / 2, found)
    noted = [{"name": n, "start": START + start, "end": START + end} for n, start, end in phases]
    (folder / "phases.json").write_text(json.dumps(noted))
    return folder


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        ([sample(cpu=97)] * 9, "compute-bound: CPUs 97 % busy, 0 % waiting for disks"),
        ([sample(cpu=40, wait=35)] * 9, "input-bound: CPUs 40 % busy, 35 % waiting for disks"),
        ([sample(cpu=20)] * 9, "idle CPUs: CPUs 20 % busy"),
        ([sample(cpu=60, gpu=93)] * 9, "compute-bound: GPUs 93 % busy, CPUs 60 % busy"),
        ([sample(cpu=96, gpu=40)] * 9, "input-bound: GPUs 40 % busy, CPUs 96 % busy"),
        ([sample(cpu=20, wait=30, gpu=40)] * 9, "input-bound: GPUs 40 % busy"),
        ([sample(cpu=20, gpu=15)] * 9, "idle GPU: GPUs 15 % busy, CPUs 20 % busy"),
    ],
)
def test_a_bottleneck_is_named_with_its_numbers(
    tmp_path: Path, samples: list[list[Sample]], verdict: str
) -> None:
    [found] = verdicts(read_profile(write(tmp_path, samples)))
    assert found.startswith(verdict)


def test_memory_that_grows_is_told_from_memory_that_is_used(tmp_path: Path) -> None:
    growing = [sample(memory=20 + position) for position in range(40)]
    filled = [sample(memory=min(60, 20 + 5 * position)) for position in range(40)]
    assert verdicts(read_profile(write(tmp_path / "1", growing)))[1].startswith(
        "memory growing: 34.5, 44.5, 54.5 %"
    )
    assert len(verdicts(read_profile(write(tmp_path / "2", filled)))) == 1


def test_phases_are_summed_up_apart(tmp_path: Path) -> None:
    samples = [sample(cpu=90, read=8e6)] * 4 + [sample(cpu=10, memory=70)] * 4
    folder = write(tmp_path, samples, ("read photos", -0.1, 1.9), ("train 1", 1.9, 4))
    first, second, whole = usage(read_profile(folder))
    assert first == {
        "phase": "read photos", "seconds": pytest.approx(2), "cpu %": 90, "i/o wait %": 0,
        "memory max %": 30, "read MB/s": 8,
    }  # fmt: skip
    assert second["phase"] == "train 1"
    assert second["cpu %"] == 10
    assert second["memory max %"] == 70
    assert whole["phase"] == "whole job"
    assert whole["cpu %"] == 50
    [verdict] = verdicts(read_profile(folder))
    assert verdict.startswith("idle CPUs: CPUs 10 % busy")  # of training alone


def test_many_epochs_are_summed_up_together(tmp_path: Path) -> None:
    phases = [(f"train {epoch}", epoch / 8, (epoch + 1) / 8) for epoch in range(30)]
    found = usage(read_profile(write(tmp_path, [sample()] * 9, *phases)))
    assert [used["phase"] for used in found] == ["train (all)", "whole job"]
    assert found[0]["seconds"] == pytest.approx(30 / 8)
    assert "train (all)" in usage_table(found)


def test_the_table_is_that_of_smdebugs_reader(tmp_path: Path) -> None:
    folder = write(tmp_path, [sample(cpu=12.34), sample(cpu=99.9)])
    from smdebug.profiler.analysis.utils.profiler_data_to_pandas import PandasFrame

    from dogbreeds.monitoring.debugger import smdebug_compat  # noqa: F401  (before smdebug itself)

    frame = PandasFrame(str(folder / "profiler")).get_all_system_metrics()
    assert tuple(frame.columns) == COLUMNS
    assert list(rows(read_profile(folder))) == [tuple(row) for row in frame.values.tolist()]


def test_the_command_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = tmp_path / "ml"
    write(tree / "output" / "data", [sample(cpu=95)] * 8, ("train 1", 0, 4))
    table = tmp_path / "table.csv"
    assert main(["profile", str(tree), "--csv", str(table), "--rows", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == list(COLUMNS)
    assert out[1].split()[:4] == ["2026-11-22T20:16:00:250000", "250000", "95", "cpu0"]
    assert out[-1].startswith("compute-bound")
    assert main(["profile", str(tree)]) == 0
    assert capsys.readouterr().out.split()[:2] == ["phase", "seconds"]
    with table.open() as stream:
        lines = list(csv.reader(stream))
    assert lines[0] == list(COLUMNS)
    assert len(lines) == 1 + 8 * 4


def test_the_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path, [sample()] * 2)
    [file] = folder.glob("profiler/system/incremental/*/*.json")
    file.write_text(file.read_text() + '{"Type": "cp')
    assert len(read_profile(folder).samples) == 8
    file.write_text('{"Type": "cp\n' + file.read_text())
    with pytest.raises(ProfileError, match=r"algo-1.json:1 is not a sample"):
        read_profile(folder)


def test_phases_that_are_damaged_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, [sample()])
    (folder / "phases.json").write_text("[{}]")
    with pytest.raises(ProfileError, match=r"phases.json is damaged"):
        read_profile(folder)


def test_a_folder_without_metrics_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(tmp_path)]) == 1
    assert "expected system metrics (profiler/system/...)" in capsys.readouterr().err


def test_what_was_not_sampled_gets_no_verdict(tmp_path: Path) -> None:
    folder = write(tmp_path, [sample()] * 2, ("train 1", 10, 10.1))
    [verdict] = verdicts(read_profile(folder))
    assert verdict.startswith("no verdict")
