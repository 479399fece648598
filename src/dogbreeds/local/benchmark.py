"""How fast a model is served on this machine: requests per second, latency and memory."""

import http.client
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from dogbreeds.local.server import RunningServer, ServerFailedError, serving
from dogbreeds.system.files import content_type

CONCURRENCIES = (1, 4, 16)

Call = Callable[[], None]


def benchmark(
    artifact: Path, photo: Path, port: int, seconds: float = 5
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Measure an artifact in float32 and, where the server would choose it, in int8.

    Yields precision, how many clients ask at a time, and what `measure` returns. ServerFailedError
    if the server does not become ready, or refuses the photo.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "serve.log"
        for precision, setting in (("float32", "float32"), ("int8", "auto")):
            with serving(artifact, port, log, DOGBREEDS_PRECISION=setting) as running:
                if setting == "auto" and "serving int8" not in log.read_text(errors="replace"):
                    return
                client, family = partial(_client, running.url, photo), partial(_family, running)
                for clients in CONCURRENCIES:
                    yield precision, clients, measure(client, clients, seconds, family)


def _family(running: RunningServer) -> list[psutil.Process]:
    server = psutil.Process(running.process.pid)
    return [server, *server.children(recursive=True)]


def _client(url: str, photo: Path) -> Call:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    body, headers = photo.read_bytes(), {"Content-Type": content_type(photo)}

    def call() -> None:
        connection.request("POST", "/invocations", body, headers)
        response = connection.getresponse()
        answer = response.read().decode(errors="replace")
        if response.status != 200:
            raise ServerFailedError(f"expected 200 for {photo}, got {response.status}: {answer}")

    return call


def load(make_call: Callable[[], Call], concurrency: int, seconds: float) -> list[float]:
    """Call from several threads for some seconds; return the latencies in seconds."""
    end = time.monotonic() + seconds

    def client(_: int) -> list[float]:
        call, latencies = make_call(), []
        while (begin := time.monotonic()) < end:
            call()
            latencies.append(time.monotonic() - begin)
        return latencies

    with ThreadPoolExecutor(concurrency) as pool:
        return [latency for found in pool.map(client, range(concurrency)) for latency in found]


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """Return the processor time used; unlike latency it hardly depends on what else runs."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(
    make_call: Callable[[], Call],
    concurrency: int,
    seconds: float,
    family: Callable[[], list[psutil.Process]],
) -> dict[str, float]:
    """Return requests per second, latencies, processor time per request, and memory."""
    load(make_call, concurrency, seconds / 8)  # warm-up
    begin, cpu_begin = time.monotonic(), cpu_seconds(family())
    latencies = sorted(load(make_call, concurrency, seconds))
    elapsed, cpu = time.monotonic() - begin, cpu_seconds(family()) - cpu_begin
    return {
        "per_second": len(latencies) / elapsed,
        "median_ms": statistics.median(latencies) * 1e3,
        "p95_ms": latencies[int(len(latencies) * 0.95)] * 1e3,
        "cpu_ms": cpu / len(latencies) * 1e3,
        "pss_mb": sum(process.memory_full_info().pss for process in family()) / 2**20,
    }
