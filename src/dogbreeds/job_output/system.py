"""System metrics over time, downsampled to what a screen can show."""

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from dogbreeds.job_output.profile import PROFILER_FOLDER, read_profile, verdicts

_POINTS = 400  # of a curve
_MOST_BYTES = 2**25  # of samples; parsing them takes about 2 s

# Name or dimension of a sample: its chart, curve and factor. Cores are averaged, GPUs are not.
_BUSY, _MEMORY, _MOVED = "Processors and GPUs, % busy", "Memory, % used", "Disk and network, MB/s"
_CURVES = {
    "CPUUtilization": (_BUSY, "CPU", 1.0),
    "I/OWaitPercentage": (_BUSY, "CPU waiting for disk", 1.0),
    "GPUUtilization": (_BUSY, "{name}", 1.0),
    "MemoryUsedPercent": (_MEMORY, "memory", 1.0),
    "GPUMemoryUtilization": (_MEMORY, "{name}", 1.0),
    "ReadThroughputInBytesPerSecond": (_MOVED, "disk read", 1e-6),
    "WriteThroughputInBytesPerSecond": (_MOVED, "disk written", 1e-6),
    "ReceiveBytesPerSecond": (_MOVED, "network in", 1e-6),
    "TransmitBytesPerSecond": (_MOVED, "network out", 1e-6),
}


def read_system(output: Path) -> dict[str, Any] | None:
    """Read the system metrics in a job's ``output/data``.

    Returns:
        JSON-ready, None without samples: ``charts``, each a ``title`` and ``curves`` with ``name``
        and ``points`` [seconds since the first sample, value]; ``phases`` with ``name``, ``start``
        and ``end`` in those seconds; ``verdicts``, lines of text.

    Raises:
        ProfileError: The files are damaged.
        OSError: A file cannot be read.
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
    charts: dict[str, list[dict[str, Any]]] = {_BUSY: [], _MEMORY: [], _MOVED: []}
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
