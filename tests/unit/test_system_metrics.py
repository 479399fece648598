"""System metrics are sampled by a process of its own, and read back by smdebug's readers."""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from dogbreeds.entrypoint.monitors import watched
from dogbreeds.monitoring.system_metrics import HostReader, write_samples
from dogbreeds.training.distributed import Cluster
from dogbreeds.training.paths import JobPaths
from dogbreeds.training.settings import Settings


def entries(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("system/incremental/*/*.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def test_counts_become_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"disk": 0, "network": 0}
    monkeypatch.setattr(time, "monotonic", lambda: 100 + counted["disk"])
    monkeypatch.setattr(
        psutil,
        "disk_io_counters",
        lambda: SimpleNamespace(
            read_count=10 * counted["disk"], write_count=20 * counted["disk"],
            read_bytes=1000 * counted["disk"], write_bytes=5000 * counted["disk"],
        ),
    )  # fmt: skip
    monkeypatch.setattr(
        psutil,
        "net_io_counters",
        lambda pernic: {
            "lo": SimpleNamespace(bytes_recv=10**9 * counted["network"], bytes_sent=0),
            "eth0": SimpleNamespace(bytes_recv=600 * counted["network"], bytes_sent=0),
            "eth1": SimpleNamespace(bytes_recv=0, bytes_sent=40 * counted["network"]),
        },
    )
    reader = HostReader()
    counted.update(disk=2, network=4)
    rates = {name: value for _, name, _, value in reader.read()}
    assert rates["IOPS"] == 30
    assert rates["ReadThroughputInBytesPerSecond"] == 1000
    assert rates["WriteThroughputInBytesPerSecond"] == 5000
    assert rates["ReceiveBytesPerSecond"] == 1200  # what stays on the host does not count
    assert rates["TransmitBytesPerSecond"] == 80


class NVMLError(Exception):
    pass


def _utilization(device: int) -> SimpleNamespace:
    if device == 1:
        raise NVMLError("Not Supported")  # a part of a GPU
    return SimpleNamespace(gpu=87, memory=20)


def test_gpus_are_sampled_by_what_they_support(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=_utilization,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=4 * 2**30, total=16 * 2**30),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus = [sample for sample in HostReader().read() if sample[0] == "gpu"]
    assert gpus == [
        ("gpu", "gpu0", "GPUUtilization", 87),
        ("gpu", "gpu0", "GPUMemoryUtilization", 25.0),
        ("gpu", "gpu1", "GPUMemoryUtilization", 25.0),
    ]


def test_a_host_without_nvidias_driver_has_no_gpus() -> None:
    assert not [sample for sample in HostReader().read() if sample[0] == "gpu"]


def test_a_minute_is_a_file_in_the_folder_of_its_hour(tmp_path: Path) -> None:
    sample = ("cpu", "cpu0", "CPUUtilization", 12.345)
    for moment in (1795378559.9, 1795378560.0, 1795378619.5):
        write_samples(tmp_path, "algo-2", moment, [sample])
    folder = tmp_path / "system" / "incremental" / "2026112220"
    assert {file.name: len(file.read_text().splitlines()) for file in folder.iterdir()} == {
        "1795378500.algo-2.json": 1, "1795378560.algo-2.json": 2,
    }  # fmt: skip
    assert entries(tmp_path)[0] == {
        "Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", "Value": 12.35,
        "NodeId": "algo-2", "Timestamp": 1795378559.9,
    }  # fmt: skip


def job_paths(base: Path, **config: object) -> JobPaths:
    (base / "input" / "config").mkdir(parents=True)
    for name, document in config.items():
        (base / "input" / "config" / f"{name}.json").write_text(json.dumps(document))
    return JobPaths.from_environment({"SAGEMAKER_BASE_DIR": str(base)})


@pytest.mark.parametrize(
    ("profiler", "theirs", "sampled"),
    [
        ("auto", None, True),
        ("auto", {"DisableProfiler": True}, True),
        ("auto", {"S3OutputPath": "s3://bucket/profiler"}, False),
        ("true", {"S3OutputPath": "s3://bucket/profiler"}, True),
        ("false", None, False),
    ],
)
def test_a_job_samples_where_sagemaker_does_not(
    tmp_path: Path,
    profiler: str,
    theirs: dict[str, object] | None,
    sampled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: object) -> SimpleNamespace:
        started.append(command)
        return SimpleNamespace(terminate=lambda: None, wait=lambda: None)

    monkeypatch.setattr(
        "dogbreeds.monitoring.system_metrics.subprocess.Popen",
        start,
    )
    config: dict[str, object] = {"resourceconfig": {"current_host": "b", "hosts": ["a", "b"]}}
    paths = job_paths(tmp_path, **config, **({"profilerconfig": theirs} if theirs else {}))
    settings = Settings(profiler=profiler)
    with watched(settings, paths, Cluster()):
        assert bool(started) is sampled
    if sampled:
        assert started[0][-2:] == [str(paths.output_data / "profiler"), "algo-2"]
    with watched(settings, paths, Cluster(rank=1, size=2, local_rank=1)):
        assert len(started) == sampled  # one a host
