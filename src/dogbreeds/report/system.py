"""System metrics over time, from samples in the format of SageMaker's Profiler."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

_POINTS = 400  # of a curve; a screen shows no more
_FILES = 300  # of a minute each; of longer jobs a part is read, evenly

# By type, and name or dimension of a sample: the chart, the curve in it and what a value is
# multiplied by. Cores are averaged, GPUs stand for themselves.
_CURVES = {
    ("cpu", "CPUUtilization"): ("Processors and GPUs, % busy", "CPU", 1.0),
    ("cpu", "I/OWaitPercentage"): ("Processors and GPUs, % busy", "CPU waiting for disk", 1.0),
    ("gpu", "GPUUtilization"): ("Processors and GPUs, % busy", "{name}", 1.0),
    ("memory", "MemoryUsedPercent"): ("Memory, % used", "memory", 1.0),
    ("gpu", "GPUMemoryUtilization"): ("Memory, % used", "{name}", 1.0),
    ("i/o", "ReadThroughputInBytesPerSecond"): ("Disk and network, MB/s", "disk read", 1e-6),
    ("i/o", "WriteThroughputInBytesPerSecond"): ("Disk and network, MB/s", "disk written", 1e-6),
    ("network", "ReceiveBytesPerSecond"): ("Disk and network, MB/s", "network in", 1e-6),
    ("network", "TransmitBytesPerSecond"): ("Disk and network, MB/s", "network out", 1e-6),
}


def read_system(folder: Path, phases: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Read and thin out the samples of a job.

    Args:
        folder: With ``system/incremental/HOUR/MINUTE.NODE.json``.
        phases: What the job did when: ``name``, ``start`` and ``end`` in seconds since 1970.

    Returns:
        JSON-ready: ``charts``, each a ``title`` and ``curves`` with ``name`` and ``points``
        [seconds since the first sample, value]; ``phases`` with ``start`` and ``end`` in those
        seconds. None where there are no samples.

    Raises:
        KeyError, TypeError, ValueError: A sample is not as it must be.
        OSError: A file cannot be read.
    """
    files = sorted(folder.glob("system/incremental/*/*.json"), key=lambda file: file.name)
    stride = -(-len(files) // _FILES)
    samples = list(_samples(files[::stride])) if files else []
    if not samples:
        return None
    start, end = min(s[0] for s in samples), max(s[0] for s in samples)
    width = max((end - start) / _POINTS, 0.5)
    several = len({node for _, node, _, _, _ in samples}) > 1
    sums: dict[tuple[str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for time, node, chart, curve, value in samples:
        name = f"{node} {curve}" if several else curve
        sums[chart, name][int((time - start) / width)].append(value)
    charts: dict[str, list[dict[str, Any]]] = {title: [] for title, _, _ in _CURVES.values()}
    for (chart, name), buckets in sorted(sums.items()):
        points = [
            [round((bucket + 0.5) * width, 1), round(sum(values) / len(values), 2)]
            for bucket, values in sorted(buckets.items())
        ]
        charts[chart].append({"name": name, "points": points})
    return {
        "charts": [
            {"title": title, "curves": curves} for title, curves in charts.items() if curves
        ],
        "phases": [
            {**phase, "start": phase["start"] - start, "end": phase["end"] - start}
            for phase in phases
        ],
    }


def _samples(files: Iterable[Path]) -> Iterator[tuple[float, str, str, str, float]]:
    """Give time, node, chart, curve and value of each sample that is shown."""
    for file in files:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                sample = json.loads(line)
                kind, name, dimension = sample["Type"], sample["Name"], sample["Dimension"]
                found = _CURVES.get((kind, dimension)) or _CURVES.get((kind, name))
                if found:
                    chart, curve, factor = found
                    yield (
                        float(sample["Timestamp"]),
                        str(sample["NodeId"]),
                        chart,
                        curve.format(name=name),
                        float(sample["Value"]) * factor,
                    )
