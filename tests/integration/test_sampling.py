"""System metrics are sampled by a process of its own, and read back by smdebug's readers."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dogbreeds.monitoring.system_metrics import sampling


def entries(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("system/incremental/*/*.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def wait_for(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


def times(folder: Path) -> list[float]:
    return sorted({entry["Timestamp"] for entry in entries(folder)})


def test_smdebugs_readers_read_what_is_sampled(tmp_path: Path) -> None:
    with sampling(tmp_path, "algo-1"):
        wait_for(lambda: len(times(tmp_path)) > 3)
    from smdebug.profiler.analysis.utils.profiler_data_to_pandas import PandasFrame
    from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
    from smdebug.profiler.utils import TimeUnits

    from dogbreeds.monitoring.debugger import smdebug_compat  # noqa: F401  (before smdebug itself)

    reader = LocalSystemMetricsReader(str(tmp_path))
    events = reader.get_events(time.time() - 60, time.time() + 1, TimeUnits.SECONDS)
    assert len(events) == len(entries(tmp_path))
    assert len(reader.get_events(0, time.time(), TimeUnits.SECONDS, event_type="cpu")) == sum(
        entry["Type"] == "cpu" for entry in entries(tmp_path)
    )
    frame = PandasFrame(str(tmp_path)).get_all_system_metrics()
    assert list(frame.columns) == [
        "timestamp", "timestamp_us", "value", "system_metric", "dimension", "nodeID", "type",
    ]  # fmt: skip
    assert set(frame["system_metric"]) >= {
        *(f"cpu{core}" for core in range(psutil.cpu_count() or 1)), "MemoryUsedPercent",
        "ReceiveBytesPerSecond", "TransmitBytesPerSecond",
    }  # fmt: skip
    percents = frame[frame["type"].isin(["cpu", "memory"])]["value"]
    assert percents.between(0, 100).all()
    assert frame["timestamp_us"].between(0, 120_000_000).all()  # from the first file's minute on


def test_samples_come_twice_a_second_and_end_with_the_context(tmp_path: Path) -> None:
    with sampling(tmp_path, "algo-1"):
        wait_for(lambda: len(times(tmp_path)) > 4)
    taken = times(tmp_path)
    gaps = sorted(after - before for before, after in itertools.pairwise(taken))
    assert gaps[len(gaps) // 2] == pytest.approx(0.5, abs=0.1)
    time.sleep(1.1)
    assert times(tmp_path) == taken


def test_a_sampler_that_got_no_processor_for_a_while_goes_on(tmp_path: Path) -> None:
    with sampling(tmp_path, "algo-1"):
        wait_for(lambda: times(tmp_path))
        [sampler] = [p for p in psutil.Process().children() if str(tmp_path) in p.cmdline()]
        sampler.suspend()
        time.sleep(1.5)
        resumed = time.time()
        sampler.resume()
        wait_for(lambda: sum(taken > resumed for taken in times(tmp_path)) > 2)


def test_the_sampler_ends_when_its_job_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from dogbreeds.monitoring.system_metrics import sampling\n"
        "with sampling(pathlib.Path(sys.argv[1]), 'algo-1'): time.sleep(60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        wait_for(lambda: times(tmp_path))
        [sampler] = psutil.Process(job.pid).children()
    finally:
        job.kill()
        job.wait()
    wait_for(lambda: not sampler.is_running() or sampler.status() == psutil.STATUS_ZOMBIE, 5)
