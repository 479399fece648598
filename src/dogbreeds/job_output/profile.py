"""System metrics of a job, read back: the Profiler's table, usage per phase, charts, verdicts."""

import csv
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from dogbreeds.system import terminal
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import atomic_write

COLUMNS = ("timestamp", "timestamp_us", "value", "system_metric", "dimension", "nodeID", "type")
"""Of the table, as in smdebug's PandasFrame."""

PROFILER_FOLDER = "profiler"
"""Folder of a job's samples in its ``output/data``."""

PHASES_FILE = "phases.json"
"""File of a job's phases in its ``output/data``, written by `monitoring.callbacks`."""

_INSIDE = ("", "profiler", "profiler-output", "output/data/profiler", "opt-ml/output/data/profiler")
_BUSY, _WAITING = 80.0, 20.0  # percent
_MANY_PHASES = 24
_POINTS = 400  # of a curve
_MOST_BYTES = 2**25  # of samples; parsing them takes about 2 s


class ProfileError(DogbreedsError, ValueError):
    """System metrics are missing or damaged; the message says what was expected."""


@dataclass(frozen=True)
class Sample:
    """One measured number."""

    kind: str  # ``cpu``, ``memory``, ``gpu``, ``i/o`` or ``network``
    name: str  # ``cpu0``, ``MemoryUsedPercent``, ``ReceiveBytesPerSecond``, ...
    dimension: str  # ``CPUUtilization``, ... where a name has several; otherwise empty
    value: float  # 0 to 100 percent, or a count per second
    node: str  # the host
    time: float  # seconds since 1970


@dataclass(frozen=True)
class Phase:
    """What a job did from ``start`` to ``end``, in seconds since 1970."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Profile:
    """A job's system metrics."""

    samples: tuple[Sample, ...]  # in order of time
    phases: tuple[Phase, ...]  # likewise; empty if the job did not record them
    first_file: int  # zero of the table's ``timestamp_us``, in seconds since 1970


def read_profile(folder: Path, most_bytes: int | None = None) -> Profile:
    """Read what this project's sampler or SageMaker's Profiler wrote.

    `folder` is the Profiler's output, or a job's folder around it; of more than `most_bytes`, only
    some evenly spaced files are read. ProfileError if there is nothing, or a file is damaged before
    its last line; OSError if it cannot be read.
    """
    root = next((folder / i for i in _INSIDE if (folder / i / "system").is_dir()), None)
    files = sorted(root.glob("system/**/*.json")) if root else []
    if root is None or not files:
        raise ProfileError(
            f"expected system metrics (profiler/system/...) of a job, found none in {folder}"
        )
    stride = -(-sum(file.stat().st_size for file in files) // most_bytes) if most_bytes else 1
    read = files[:: max(1, stride)]
    samples = sorted((s for file in read for s in _read(file)), key=lambda sample: sample.time)
    noted = next((p for p in (root, root.parent) if (p / PHASES_FILE).is_file()), None)
    phases: tuple[Phase, ...] = ()
    if noted:
        try:
            phases = tuple(Phase(**p) for p in json.loads((noted / PHASES_FILE).read_text()))
        except (ValueError, TypeError) as error:
            raise ProfileError(f"{noted / PHASES_FILE} is damaged: {error}") from error
    return Profile(tuple(samples), phases, int(files[0].name.partition(".")[0]))


def _read(file: Path) -> Iterator[Sample]:
    lines = file.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            yield Sample(
                entry["Type"], entry.get("Name") or "", entry["Dimension"] or "",
                float(entry["Value"]), entry["NodeId"], float(entry["Timestamp"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):  # the last one may be incomplete
                raise ProfileError(f"{file}:{number} is not a sample: {line[:80]!r}") from error


def rows(profile: Profile) -> Iterator[tuple[str | int | float, ...]]:
    """Yield the table's rows, in the order of `COLUMNS`."""
    for sample in profile.samples:
        microseconds = int(sample.time * 1_000_000)
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(microseconds // 1_000_000))
        yield (
            f"{whole}:{microseconds % 1_000_000:06d}",
            microseconds - profile.first_file * 1_000_000,
            sample.value, sample.name, sample.dimension, sample.node, sample.kind,
        )  # fmt: skip


def write_csv(profile: Profile, file: Path) -> None:
    """Write the table as CSV; OSError if that fails."""
    with atomic_write(file) as partial, partial.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows(profile))


_USAGE: dict[str, tuple[Callable[[Sample], bool], Callable[[Iterable[float]], float], float]] = {
    "cpu %": (lambda s: s.dimension == "CPUUtilization", fmean, 1),
    "i/o wait %": (lambda s: s.dimension == "I/OWaitPercentage", fmean, 1),
    "memory max %": (lambda s: s.name == "MemoryUsedPercent", max, 1),
    "gpu %": (lambda s: s.dimension == "GPUUtilization", fmean, 1),
    "gpu memory max %": (lambda s: s.dimension == "GPUMemoryUtilization", max, 1),
    "read MB/s": (lambda s: s.name.startswith("ReadThroughput"), fmean, 1e6),
    "write MB/s": (lambda s: s.name.startswith("WriteThroughput"), fmean, 1e6),
    "received MB/s": (
        lambda s: s.name.startswith("Receive") and s.dimension == "Algorithm", fmean, 1e6,
    ),
}  # fmt: skip
"""For each column: which samples count, how they are aggregated, and its unit."""


def usage(profile: Profile) -> list[dict[str, Any]]:
    """Return what each phase used, and last the whole job; many epochs are merged by kind.

    A row has the name of the ``phase``, its ``seconds``, and over all hosts, cores and GPUs those
    columns of `_USAGE` that anything was sampled for.
    """
    phases: dict[str, list[Phase]] = {}
    many = len(profile.phases) > _MANY_PHASES
    for phase in profile.phases:
        kind, _, number = phase.name.rpartition(" ")
        name = f"{kind} (all)" if many and number.isdecimal() else phase.name
        phases.setdefault(name, []).append(phase)
    if profile.samples:
        first, last = profile.samples[0].time, profile.samples[-1].time
        phases["whole job"] = [Phase("whole job", first, last)]
    return [
        {"phase": name, "seconds": sum(p.end - p.start for p in parts),
         **_used(_within(profile.samples, parts))}
        for name, parts in phases.items()
    ]  # fmt: skip


def _within(samples: Iterable[Sample], phases: list[Phase]) -> list[Sample]:
    return [s for s in samples if any(p.start <= s.time <= p.end for p in phases)]


def _used(samples: Iterable[Sample]) -> dict[str, float]:
    values = {}
    for column, (counts, aggregate, unit) in _USAGE.items():
        if numbers := [s.value for s in samples if counts(s)]:
            values[column] = aggregate(numbers) / unit
    return values


def verdicts(profile: Profile) -> list[str]:
    """Say what limits the speed of training, else of the whole job, with its numbers."""
    training = [p for p in profile.phases if p.name.startswith("train ")]
    samples = _within(profile.samples, training) if training else list(profile.samples)
    used = _used(samples)
    if "cpu %" not in used:
        return ["no verdict: training took less than the half second between two samples"]
    cpu, waiting = used["cpu %"], used.get("i/o wait %", 0.0)
    numbers = f"CPUs {cpu:.0f} % busy, {waiting:.0f} % waiting for disks"
    bound, idle, remedy = "", "CPUs", "use a larger batch_size or a smaller instance"
    if (gpu := used.get("gpu %")) is not None:
        numbers, idle = f"GPUs {gpu:.0f} % busy, {numbers}", "GPU"
        if gpu >= _BUSY:
            bound, remedy = "compute", "use a faster GPU"
        elif cpu >= _BUSY or waiting >= _WAITING:
            bound, remedy = "input", "the GPUs wait for photos: use more cores or pixel_cache"
    elif waiting >= _WAITING:
        bound, remedy = "input", "use pixel_cache=memory or a faster disk"
    elif cpu >= _BUSY:
        bound, remedy = "compute", "use a GPU or more cores"
    found = f"{bound}-bound" if bound else f"idle {idle}"
    return [f"{found}: {numbers}; {remedy}", *_memory_growth(samples)]


def _memory_growth(samples: list[Sample]) -> list[str]:
    memory = [s.value for s in samples if s.name == "MemoryUsedPercent"]
    if len(memory) < 8:
        return []
    # Skip the first quarter, which may still allocate what all of training then uses.
    quarter = len(memory) // 4
    second, third, last = (fmean(memory[i * quarter : (i + 1) * quarter]) for i in range(1, 4))
    if not second + 1 < third < last - 1:
        return []
    return [
        f"memory growing: {second:.1f}, {third:.1f}, {last:.1f} % in the second, third and last"
        " quarter of training; look for objects that are kept"
    ]


def usage_table(found: list[dict[str, Any]]) -> str:
    """Return the rows of `usage` as a table for people."""
    columns = ["phase", "seconds", *(c for c in _USAGE if any(c in row for row in found))]
    rounded = [{k: round(v, 1) if k != "phase" else v for k, v in row.items()} for row in found]
    return terminal.table([[row.get(column) for column in columns] for row in rounded], columns)


# Name or dimension of a sample: its chart, curve and factor. Cores are averaged, GPUs are not.
_LOAD, _MEMORY, _MOVED = "Processors and GPUs, % busy", "Memory, % used", "Disk and network, MB/s"
_CURVES = {
    "CPUUtilization": (_LOAD, "CPU", 1.0),
    "I/OWaitPercentage": (_LOAD, "CPU waiting for disk", 1.0),
    "GPUUtilization": (_LOAD, "{name}", 1.0),
    "MemoryUsedPercent": (_MEMORY, "memory", 1.0),
    "GPUMemoryUtilization": (_MEMORY, "{name}", 1.0),
    "ReadThroughputInBytesPerSecond": (_MOVED, "disk read", 1e-6),
    "WriteThroughputInBytesPerSecond": (_MOVED, "disk written", 1e-6),
    "ReceiveBytesPerSecond": (_MOVED, "network in", 1e-6),
    "TransmitBytesPerSecond": (_MOVED, "network out", 1e-6),
}


def read_system(output: Path) -> dict[str, Any] | None:
    """Read the system metrics in a job's ``output/data``, downsampled to what a screen can show.

    Returns:
        JSON-ready, None without samples: ``charts``, each a ``title`` and ``curves`` with ``name``
        and ``points`` [seconds since the first sample, value]; ``phases`` with ``name``, ``start``
        and ``end`` in those seconds; ``verdicts``, lines of text. Errors are as of `read_profile`.
    """
    if not any((output / PROFILER_FOLDER).glob("system/**/*.json")):
        return None
    profile = read_profile(output, _MOST_BYTES)
    if not profile.samples:
        return None
    start = profile.samples[0].time
    width = max((profile.samples[-1].time - start) / _POINTS, 0.5)
    several = len({sample.node for sample in profile.samples}) > 1
    buckets: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in profile.samples:
        if found := _CURVES.get(sample.dimension) or _CURVES.get(sample.name):
            chart, curve, factor = found
            name = (f"{sample.node} " if several else "") + curve.format(name=sample.name)
            buckets[chart, name][int((sample.time - start) / width)].append(sample.value * factor)
    charts: dict[str, list[dict[str, Any]]] = {_LOAD: [], _MEMORY: [], _MOVED: []}
    for (chart, name), values in sorted(buckets.items()):
        points = [
            [round((bucket + 0.5) * width, 1), round(fmean(inside), 2)]
            for bucket, inside in sorted(values.items())
        ]
        charts[chart].append({"name": name, "points": points})
    return {
        "charts": [
            {"title": title, "curves": curves} for title, curves in charts.items() if curves
        ],
        "phases": [
            {"name": phase.name, "start": phase.start - start, "end": phase.end - start}
            for phase in profile.phases
        ],
        "verdicts": verdicts(profile),
    }
