"""What callers of a server lose where its workers die or hang, and clients misbehave."""

import io
import itertools
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import date, timedelta
from pathlib import Path

import psutil
import pytest
from PIL import Image

from dogbreeds.model.document import WEIGHTS_FILE
from helpers.clock import Clock
from helpers.drill_record import Record
from helpers.load import Load
from helpers.memory_group import memory_group
from helpers.serving_process import ServingProcess, assert_gone, photo, serving
from helpers.shared_library import needs_compiler

pytestmark = pytest.mark.drill


@contextmanager
def ready(model_dir: Path, **environment: str) -> Iterator[ServingProcess]:
    with serving(model_dir, **environment) as server:  # type: ignore[arg-type]
        server.wait_until_ready(120)
        yield server


@pytest.mark.parametrize("clients", [2, 16])
def test_killed_workers_cost_no_answer(
    model_dir: Path, record: Record, full: bool, clients: int
) -> None:
    seconds, pause = (60, 5) if full else (9, 3)
    slowest = 0.0
    with ready(model_dir) as server, Load(server, clients) as load:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for worker in server.workers():
                worker.kill()
            killed = time.monotonic()
            while not any(when > killed and a.status == 200 for when, a in load.answers[-50:]):
                assert time.monotonic() - killed < 20, server.log()
                time.sleep(0.02)
            slowest = max(slowest, time.monotonic() - killed)
            time.sleep(pause)
        statuses = load.stop()
    assert set(statuses) <= {200, 503}
    assert statuses[503] <= statuses[200] / 20
    record(f"all workers killed every {pause} s for {seconds} s, {clients} clients",
           f"{statuses[200]} answers", f"{statuses[503]} got 503", slowest)  # fmt: skip


def test_a_hung_worker_is_replaced(model_dir: Path, record: Record) -> None:
    timeout = {"SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "12"}
    with ready(model_dir, SAGEMAKER_MODEL_SERVER_WORKERS="1", **timeout) as server:
        while len(server.workers()) > 1:  # a process that loads the model may still be ending
            time.sleep(0.1)
        [worker] = server.workers()
        os.kill(worker.pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            assert server.invoke(photo(), timeout=90).status == 200
        finally:
            if worker.is_running():
                worker.resume()
        record("the only worker hangs (SIGSTOP), timeout of 12 s", "its successor answers",
               "nothing", time.monotonic() - started)  # fmt: skip


@needs_compiler
def test_a_clock_that_jumps_delays_no_answer(
    model_dir: Path, record: Record, full: bool, tmp_path: Path
) -> None:
    clock, slowest = Clock(tmp_path), 0.0
    with ready(model_dir, **clock.environment) as server, Load(server, 4) as load:
        for days in (1, -1, 400, -400) if full else (1, -1):
            clock.set(days * 86_400)
            jumped = time.monotonic()
            time.sleep(3)
            times = [when for when, _ in load.answers if when > jumped]
            assert f"{date.today() + timedelta(days):%Y-%m-%d}" in server.log()
            slowest = max(slowest, *(b - a for a, b in itertools.pairwise([jumped, *times])))
        statuses = load.stop()
        assert server.ping() == 200
    assert set(statuses) == {200}
    assert slowest < 1
    record(
        "a server's clock jumps back and forth by days",
        f"{statuses[200]} answers",
        "nothing",
        slowest,
    )


def test_a_photo_too_large_for_the_memory_limit_costs_only_its_own_answer(
    model_dir: Path, record: Record, full: bool
) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (9000, 7000)).save(encoded, "PNG")  # 180 MB when it is decoded
    with memory_group(200) as enter, serving(model_dir) as server:
        enter(server.process.pid)
        server.wait_until_ready(120)
        with ThreadPoolExecutor(4) as clients:
            answers = clients.map(
                lambda _: server.invoke(encoded.getvalue(), "image/png", timeout=90).status,
                range(40 if full else 8),
            )
            assert set(answers) == {503}
        started = time.monotonic()
        assert server.invoke(photo(), timeout=60).status == 200
        seconds = time.monotonic() - started
        assert server.ping() == 200
    record("photos of 180 MB where 200 MB are allowed", "503, and the next photo is answered",
           "these photos", seconds)  # fmt: skip


def test_a_server_that_gets_too_little_memory_ends_with_the_reason(
    model_dir: Path, record: Record
) -> None:
    started = time.monotonic()
    with memory_group(80) as enter, serving(model_dir) as server:
        enter(server.process.pid)
        assert server.process.wait(60) == 1
        reason = server.log().strip().splitlines()[-1]
    assert reason.startswith("serve: error: ")
    record("80 MB of memory for a server", f"exit code 1: {reason}", "nothing",
           time.monotonic() - started)  # fmt: skip


@pytest.mark.parametrize("file", [WEIGHTS_FILE, "float32.onnx"])
def test_a_server_refuses_a_corrupt_artifact(
    model_dir: Path, tmp_path: Path, record: Record, file: str
) -> None:
    corrupt = tmp_path / "model"
    shutil.copytree(model_dir, corrupt)
    content = bytearray((corrupt / file).read_bytes())
    (corrupt / file).write_bytes(content[: len(content) // 2])
    started = time.monotonic()
    with serving(corrupt) as server:
        assert server.process.wait(60) == 1
        reason = server.log().strip().splitlines()[-1]
    assert reason.startswith("serve: error: ")
    reason = reason.replace(str(corrupt), "/model")
    record(f"an artifact with half of {file}", f"exit code 1: {reason}", "nothing",
           time.monotonic() - started)  # fmt: skip


def _connect(server: ServingProcess, stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))


@pytest.mark.parametrize("kind", ["idle", "half-closed", "stalled in the head", "stalled upload"])
def test_connections_that_send_nothing_keep_nobody_waiting(
    model_dir: Path, record: Record, full: bool, kind: str
) -> None:
    count = {"idle": 10_000, "stalled upload": 200}.get(kind, 1000) if full else 200
    most, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, max(most, 2 * count + 1000)), limit))
    try:
        with ready(model_dir) as server, ExitStack() as stack:
            opened = []
            for _ in range(count):
                connection = _connect(server, stack)
                if kind == "half-closed":
                    connection.shutdown(socket.SHUT_WR)
                elif kind == "stalled in the head":
                    connection.sendall(b"POST /invocations HTTP/1.1\r\nHost:")
                elif kind == "stalled upload":
                    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n"
                    connection.sendall(head + b"x")
                opened.append(connection)
            started = time.monotonic()
            answers = [server.invoke(photo()).status for _ in range(20)]
            seconds = time.monotonic() - started
            assert answers == [200] * 20
            assert server.ping() == 200
            record(f"{count} connections, {kind}", "20 requests beside them are answered",
                   "nothing", seconds)  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, limit))


@pytest.mark.timeout(600)
def test_sigterm_at_random_moments_of_the_start_leaves_nothing_behind(
    model_dir: Path, tmp_path: Path, record: Record, full: bool
) -> None:
    randomness = random.Random(3)
    slowest, stops = 0.0, 30 if full else 5
    for _ in range(stops):
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dogbreeds.serving.server"], stdout=log, stderr=log,
                env={**os.environ, "SM_MODEL_DIR": str(model_dir),
                     "SAGEMAKER_BIND_TO_PORT": str(randomness.randrange(20_000, 32_000))},
            )  # fmt: skip
            try:
                time.sleep(randomness.uniform(0.1, 6))
                family = psutil.Process(process.pid).children(recursive=True)
                started = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()
                assert_gone(family)
                slowest = max(slowest, time.monotonic() - started)
            finally:
                process.kill()
                process.wait()
    record(f"SIGTERM at {stops} random moments of a server's start", "it ends, with all processes",
           "nothing", slowest)  # fmt: skip


def test_sigterm_under_load_answers_what_it_took(model_dir: Path, record: Record) -> None:
    with ready(model_dir) as server:
        with Load(server, 8) as load:
            time.sleep(2)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(30) == 0
            seconds = time.monotonic() - started
        assert {answer.status for _, answer in load.answers} <= {200, 503}
    record("SIGTERM under the load of 8 clients", "requests in flight are answered",
           "later ones: refused or 503", seconds)  # fmt: skip
