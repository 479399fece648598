"""A small process that samples a host twice per second, as SageMaker's Profiler does.

`sampling` starts it as ``python -m dogbreeds.monitoring.system_metrics FOLDER NODE``; it ends with
the process that started it. It writes ``FOLDER/system/incremental/YYYYMMDDHH/MINUTE.algo-N.json``,
one JSON object per line with ``Type, Name, Dimension, Value, NodeId, Timestamp`` and the Profiler's
names; MINUTE is a full minute in seconds since 1970. Values are in % (0 to 100), or per second.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

INTERVAL = 0.5
Sample = tuple[str, str, str, float]  # type, name, dimension, value


@contextlib.contextmanager
def sampling(folder: Path, node: str) -> Iterator[None]:
    """Sample this host, called `node` (``algo-1``, ``algo-2``, ...), in the context."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder.absolute()), node], stdin=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


class HostReader:
    """Reads the host's counters and returns their change since the last call."""

    def __init__(self) -> None:
        self._gpus = _Gpus()
        self._time = time.monotonic()
        self._counts = self._read_counts()
        psutil.cpu_times_percent(percpu=True)  # it compares with its last call too

    def read(self) -> list[Sample]:
        """Return the samples of the time since the last call."""
        now, counts = time.monotonic(), self._read_counts()
        seconds, before = now - self._time, self._counts
        self._time, self._counts = now, counts
        samples: list[Sample] = []
        for core, times in enumerate(psutil.cpu_times_percent(percpu=True)):
            samples.append(("cpu", f"cpu{core}", "CPUUtilization", 100 - times.idle))
            waiting = getattr(times, "iowait", 0.0)  # exists on Linux only
            samples.append(("cpu", f"cpu{core}", "I/OWaitPercentage", waiting))
        samples.append(("memory", "MemoryUsedPercent", "", psutil.virtual_memory().percent))
        for (kind, name, dimension), count in counts.items():
            rate = max(0.0, count - before.get((kind, name, dimension), count)) / seconds
            samples.append((kind, name, dimension, rate))
        return samples + self._gpus.read()

    @staticmethod
    def _read_counts() -> dict[tuple[str, str, str], int]:
        """Return the totals since the host started."""
        counts = {}
        if disks := psutil.disk_io_counters():
            counts["i/o", "IOPS", ""] = disks.read_count + disks.write_count
            counts["i/o", "ReadThroughputInBytesPerSecond", ""] = disks.read_bytes
            counts["i/o", "WriteThroughputInBytesPerSecond", ""] = disks.write_bytes
        networks = [n for name, n in psutil.net_io_counters(pernic=True).items() if name != "lo"]
        received, sent = sum(n.bytes_recv for n in networks), sum(n.bytes_sent for n in networks)
        counts["network", "ReceiveBytesPerSecond", "Algorithm"] = received
        counts["network", "TransmitBytesPerSecond", "Algorithm"] = sent
        return counts


class _Gpus:
    """The host's NVIDIA GPUs; none where there is no driver."""

    def __init__(self) -> None:
        self._devices: list[Any] = []
        with contextlib.suppress(Exception):  # the package or the driver is missing
            import pynvml

            self._nvml: Any = pynvml
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def read(self) -> list[Sample]:
        samples: list[Sample] = []
        for index, device in enumerate(self._devices):
            with contextlib.suppress(self._nvml.NVMLError):  # parts of a GPU (MIG) have none
                used = self._nvml.nvmlDeviceGetUtilizationRates(device).gpu
                samples.append(("gpu", f"gpu{index}", "GPUUtilization", used))
            with contextlib.suppress(self._nvml.NVMLError):
                memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
                share = 100 * memory.used / memory.total
                samples.append(("gpu", f"gpu{index}", "GPUMemoryUtilization", share))
        return samples


def write_samples(folder: Path, node: str, timestamp: float, samples: list[Sample]) -> None:
    """Append samples of a Unix time to the Profiler's file of its minute; OSError if that fails."""
    hour = time.strftime("%Y%m%d%H", time.gmtime(timestamp))
    minute = int(timestamp) // 60 * 60
    file = folder / "system" / "incremental" / hour / f"{minute:010d}.{node}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    common = {"NodeId": node, "Timestamp": round(timestamp, 6)}
    lines = []
    for kind, name, dimension, value in samples:
        sample = {"Type": kind, "Name": name, "Dimension": dimension, "Value": round(value, 2)}
        lines.append(json.dumps(sample | common) + "\n")
    with file.open("a") as stream:  # one write: neither a reader nor a kill can split a line
        stream.write("".join(lines))


def main(folder: Path, node: str) -> None:
    """Sample until the process that started this one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the job, which then stops this
    parent = os.getppid()
    reader = HostReader()
    due = time.monotonic()
    while os.getppid() == parent:
        due = max(due + INTERVAL, time.monotonic())
        time.sleep(max(0, due - time.monotonic()))
        try:
            write_samples(folder, node, time.time(), reader.read())
        except OSError as error:
            print(f"No more system metrics are written: {error}", file=sys.stderr, flush=True)
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
