"""How large a serving image is, how soon it answers, and what it and further models cost in memory.

    python benchmarks/start.py IMAGE [IMAGE ...] [--runs 5] [--output FILE.csv]

The artifact is a ResNet-18 of random weights with its graphs. ``start_s`` is from `docker run` to
the first 200 of ``/ping``, the median of the runs; ``idle_mb`` the memory (PSS) of all processes
10 s later; ``model_mb`` and ``load_s`` are of a further model on a multi-model endpoint. Needs a
Docker engine, and root to read the memory; other work on the machine falsifies the times.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from environment import write_csv
from serving import save_resnet18

MODELS = 4


def docker(*arguments: str) -> str:
    """Run Docker's command line and return what it prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def running(image: str, *options: str) -> Iterator[tuple[str, int, float]]:
    """Yield name and port of a container that answers, and the seconds that took."""
    name = f"dogbreeds-start-{os.getpid()}"
    begin = time.monotonic()
    published = ("--publish", "127.0.0.1::8080")
    docker("run", "--detach", "--rm", "--name", name, *published, *options, image, "serve")
    try:
        port = int(docker("port", name, "8080/tcp").rpartition(":")[2])
        while time.monotonic() - begin < 120:
            with contextlib.suppress(OSError), ask(port, "/ping"):
                break
            time.sleep(0.02)
        yield name, port, time.monotonic() - begin
    finally:
        docker("rm", "--force", name)


def ask(port: int, path: str, body: dict[str, str] | None = None) -> Any:  # noqa: ANN401  (urllib's)
    """Send a request and return its response; OSError for another answer than 200."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=120)


def memory(name: str) -> float:
    """Return the PSS of a container's processes in MB."""
    first = psutil.Process(int(docker("inspect", "--format", "{{.State.Pid}}", name)))
    family = [first, *first.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in family) / 2**20


def measure(image: str, model_dir: Path, runs: int) -> dict[str, object]:
    """Return a row of the table."""
    size = int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6
    seconds = []
    mount = (f"--volume={model_dir}:/opt/ml/model:ro", "--read-only", "--tmpfs=/tmp")
    for _ in range(runs):
        with running(image, *mount) as (_, _, taken):
            seconds.append(taken)
    with running(image, *mount) as (name, _, _):
        time.sleep(10)
        idle = memory(name)
    loads = []
    several = (f"--volume={model_dir}:/models/one:ro", "--env=SAGEMAKER_MULTI_MODEL=true")
    with running(image, *several) as (name, port, _):
        costs = []
        for number in range(MODELS):
            before, begin = memory(name), time.monotonic()
            with ask(port, "/models", {"model_name": f"m{number}", "url": "/models/one"}):
                loads.append(time.monotonic() - begin)
            time.sleep(2)
            costs.append(memory(name) - before)
    return {
        "image": image, "size_mb": f"{size:.0f}", "start_s": f"{statistics.median(seconds):.2f}",
        "start_slowest_s": f"{max(seconds):.2f}", "idle_mb": f"{idle:.0f}",
        "model_mb": f"{statistics.median(costs[1:]):.0f}",
        "load_s": f"{statistics.median(loads[1:]):.2f}", "runs": runs,
    }  # fmt: skip


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, help="CSV; standard output if not given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dogbreeds-benchmark-") as folder:
        model_dir = save_resnet18(Path(folder) / "resnet18").resolve()
        Path(folder).chmod(0o755)
        rows = [measure(image, model_dir, options.runs) for image in options.images]
    with options.output.open("w") if options.output else sys.stdout as file:
        write_csv(rows, file, device="cpu")


if __name__ == "__main__":
    main()
