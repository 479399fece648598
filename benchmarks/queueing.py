"""How long requests wait: a simulation of a server that answers what waits together.

    python benchmarks/queueing.py [--output FILE.csv]

A worker takes up to 8 waiting requests at once and needs `fixed + each * n` ms for n of them. Both
numbers come from two rows of ``results/serving.csv``: a client alone, and 16 clients. The first
lines of the table compare the simulation of 4 and 16 clients with what was measured; in the others
requests arrive at random (Poisson) with a share of the highest rate.
"""

import argparse
import csv
import statistics
import sys
from collections import deque
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
BATCH, REQUESTS = 8, 40_000
LOADS = (0.5, 0.7, 0.8, 0.9, 0.95)


def measured(photo: str = "500x375", server: str = "ours") -> dict[int, tuple[float, float]]:
    """Return the measured requests/s and median ms by number of clients."""
    with (RESULTS / "serving.csv").open(newline="") as stream:
        return {
            int(row["concurrency"]): (float(row["per_second"]), float(row["median_ms"]))
            for row in csv.DictReader(stream)
            if row["server"] == server and row["photo"] == photo
        }


def fit(rows: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """Return the fixed ms of a batch and those of each request in it."""
    alone, full = 1000 / rows[1][0], 1000 * BATCH / rows[16][0]
    each = (full - alone) / (BATCH - 1)
    return alone - each, each


def closed(clients: int, fixed: float, each: float) -> tuple[float, float]:
    """Return requests/s and median ms where each client asks again as soon as it is answered."""
    waiting = deque([0.0] * clients)  # when each was sent
    now = 0.0
    times: list[float] = []
    while len(times) < REQUESTS // 10:
        batch = [waiting.popleft() for _ in range(min(BATCH, len(waiting)))]
        now += fixed + each * len(batch)
        times += [now - sent for sent in batch]
        waiting.extend([now] * len(batch))
    return 1000 * len(times) / now, statistics.median(times)


def opened(share: float, fixed: float, each: float) -> list[float]:
    """Return the ms that requests take, at a share of the highest rate, in the order they came."""
    gap = (fixed / BATCH + each) / share
    arrivals = np.cumsum(np.random.default_rng(0).exponential(gap, REQUESTS)).tolist()
    now, first = 0.0, 0
    times: list[float] = []
    while first < REQUESTS:
        now = max(now, arrivals[first])
        last = first
        while last < REQUESTS and last - first < BATCH and arrivals[last] <= now:
            last += 1
        now += fixed + each * (last - first)
        times += [now - sent for sent in arrivals[first:last]]
        first = last
    return times


def table() -> list[dict[str, object]]:
    """Return the lines of the table."""
    rows = measured()
    fixed, each = fit(rows)
    lines: list[dict[str, object]] = []
    for clients in (4, 16):
        rate, median = closed(clients, fixed, each)
        lines.append(
            {"arrivals": f"{clients} clients", "per_second": f"{rate:.1f}",
             "measured_per_second": rows[clients][0], "median_ms": f"{median:.1f}",
             "measured_median_ms": rows[clients][1], "p95_ms": ""}
        )  # fmt: skip
    for share in LOADS:
        times = opened(share, fixed, each)
        lines.append(
            {"arrivals": f"random, {share:.0%} of the highest rate",
             "per_second": f"{1000 * share / (fixed / BATCH + each):.1f}",
             "measured_per_second": "", "median_ms": f"{statistics.median(times):.1f}",
             "measured_median_ms": "", "p95_ms": f"{np.percentile(times, 95):.1f}"}
        )  # fmt: skip
    return lines


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    lines = table()
    with options.output.open("w") if options.output else sys.stdout as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


if __name__ == "__main__":
    main()
