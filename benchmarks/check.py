"""Whether this tree is still as fast as the last results say: ratios, measured side by side.

    python benchmarks/check.py [--update]

Each ratio is that of two things measured in turns in one run, so that the machine's speed cancels
out. One that is more than a tenth below that of ``results/ratios.csv`` is measured twice more, and
the best counts; exit code 1 if that is too low, too. Where the results are of a machine with other
processors or cores, nothing is compared. ``--update`` writes the file. It takes three minutes.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from environment import environment, write_csv

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "ratios.csv"
TOLERANCE, ATTEMPTS = 0.9, 3


def _run(script: str, *arguments: str) -> list[dict[str, str]]:
    """Run a benchmark and return the lines of its table."""
    with tempfile.NamedTemporaryFile("r", suffix=".csv") as file:
        command = [sys.executable, str(HERE / script), *arguments, "--output", file.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return list(csv.DictReader(file))


def _training(part: str, what: str, *arguments: str) -> float:
    rows = _run("training.py", part, *arguments)
    return next(float(row["value"]) for row in rows if row["what"] == what)


def _serving() -> float:
    arguments = ("--sizes", "500x375", "--concurrency", "16", "--seconds", "5", "--rounds", "2")
    rows = _run("serving.py", "--servers", "bare-float32", "ours-float32", *arguments)
    return next(float(row["of_bare"]) for row in rows if row["server"] == "ours-float32")


RATIOS: dict[str, Callable[[], float]] = {
    "training: job / bare step": lambda: _training(
        "step", "job / bare step", "--rounds", "2", "--photos", "64", "--image-size", "160"
    ),
    "photos: inspection / decoding": lambda: _training(
        "inspection", "inspection / decoding", "--rounds", "3", "--photos", "512"
    ),
    "serving: 16 clients / bare loop, float32": _serving,
}


def main() -> int:
    """Measure and compare, or write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--update", action="store_true", help="write the results, compare nothing")
    options = parser.parse_args()
    if options.update:
        rows = [{"ratio": name, "value": f"{measure():.3f}"} for name, measure in RATIOS.items()]
        with RESULTS.open("w", newline="") as stream:
            write_csv(rows, stream, device="cpu")
        return 0
    with RESULTS.open(newline="") as stream:
        before = {row["ratio"]: row for row in csv.DictReader(stream)}
    here = environment("cpu")
    too_low = 0
    for name, measure in RATIOS.items():
        row = before[name]
        if any(row[column] != str(here[column]) for column in ("machine", "cores")):
            print(
                f"{name}: not compared, {RESULTS.name} is of {row['machine']}, {row['cores']} cores"
            )
            continue
        needed = TOLERANCE * float(row["value"])
        best = 0.0
        for _ in range(ATTEMPTS):
            best = max(best, measure())
            if best >= needed:
                break
        too_low += best < needed
        verdict = "" if best >= needed else f": expected at least {needed:.3f}"
        print(f"{name}: {best:.3f}, {row['value']} on {row['date']}{verdict}", flush=True)
    return int(too_low > 0)


if __name__ == "__main__":
    sys.exit(main())
