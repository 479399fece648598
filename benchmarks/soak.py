"""Start, idle memory, and full load for some time: are memory, workers and answers the same after?

    python benchmarks/soak.py [MODEL_DIR] [--minutes 10] [--image IMAGE]

The server runs as a process, or in a container of the serving image. Prints a line a minute. Exit
code 1: an answer was no 200, a worker was lost, or memory grew by more than a tenth after the first
fifth of the time.
"""

import argparse
import contextlib
import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
from serving import PORT, connect, photo, save_resnet18, send, tree
from serving_peers import Server

CLIENTS = 16


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model_dir", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--image", help="run `docker run IMAGE serve`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dogbreeds-soak-") as folder:
        model_dir = (options.model_dir or save_resnet18(Path(folder) / "model")).resolve()
        name = Path(folder).name
        if options.image:
            server = in_container(options.image, model_dir, name)
        else:
            server = Server(
                [sys.executable, "-m", "dogbreeds.serving.server"],
                {"SM_MODEL_DIR": str(model_dir), "SAGEMAKER_BIND_TO_PORT": str(PORT)},
            )
        with (Path(folder) / "log").open("wb") as log:
            begin = time.monotonic()
            process = subprocess.Popen(
                server.command, env={**os.environ, **server.environment}, stdout=log, stderr=log
            )
            try:
                while ping() != 200:
                    if process.poll() is not None:
                        raise SystemExit(f"not started: {Path(log.name).read_text()[-2000:]}")
                    time.sleep(0.02)
                print(f"/ping 200 after {time.monotonic() - begin:.1f} s", flush=True)
                first = pid_in_container(name) if options.image else process.pid
                return soak(server, psutil.Process(first), options.minutes * 60)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)


def in_container(image: str, model_dir: Path, name: str) -> Server:
    """Return what serves a model in a container, as SageMaker runs it."""
    places = ["--publish", f"127.0.0.1:{PORT}:8080", "--volume", f"{model_dir}:/opt/ml/model:ro"]
    return Server(["docker", "run", "--rm", "--name", name, *places, image, "serve"])


def pid_in_container(name: str) -> int:
    """Return the first process of a container, as the host numbers it."""
    command = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def ping() -> int:
    """Return the status of /ping, 0 where nobody listens."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = connect()
        connection.request("GET", "/ping")
        return connection.getresponse().status
    return 0


def soak(server: Server, process: psutil.Process, seconds: float) -> int:
    """Load the server; return the exit code."""
    family = {member.pid for member in tree(process)}
    print(f"idle: {memory_mb(process):.0f} MB in {len(family)} processes", flush=True)
    bodies = [photo(500, 375), photo(300, 200), photo(1600, 1200), photo(4000, 3000)]
    statuses: Counter[int] = Counter()
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        connection = connect()
        sent = number
        while time.monotonic() < end:
            sent += 1
            large = sent % 20 == 0  # a few photos of 12 megapixels among smaller ones
            statuses[send(connection, server, bodies[3 if large else sent % 3])] += 1

    clients = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in clients:
        thread.start()
    used: list[float] = []
    while time.monotonic() < end:
        time.sleep(min(seconds / 10, max(0.0, end - time.monotonic())))
        used.append(memory_mb(process))
        print(f"{statuses.total()} requests, {used[-1]:.0f} MB", flush=True)
    for thread in clients:
        thread.join()
    lost = family - {member.pid for member in tree(process)}
    growth = max(used[-2:]) - max(used[:2])
    print(f"statuses {dict(statuses)}, {len(lost)} processes lost, {growth:+.0f} MB, ping {ping()}")
    return int(set(statuses) != {200} or bool(lost) or growth > used[0] / 10)


def memory_mb(process: psutil.Process) -> float:
    """Return the memory of a server, pages that its processes share counted once."""
    return sum(member.memory_full_info().pss for member in tree(process)) / 2**20


if __name__ == "__main__":
    sys.exit(main())
