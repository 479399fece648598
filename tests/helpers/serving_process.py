"""Start the real server for a test, talk to it, and see to it that nothing of it is left."""

import base64
import http.client
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from PIL import Image

from dogbreeds.entrypoint.graphs import add_graphs
from dogbreeds.model import artifact, networks
from dogbreeds.model.classes import PhotoClass
from dogbreeds.model.preprocessing import Preprocessing

CLASSES = (
    PhotoClass("001", "Affenpinscher"),
    PhotoClass("069", "French_bulldog"),
    PhotoClass("100", "Lowchen"),
)


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        document = json.loads(self.body)
        assert isinstance(document, dict)
        return document


class ServingProcess:
    """A running ``serve`` on a free port of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def invoke(
        self,
        body: bytes,
        content_type: str = "image/jpeg",
        path: str = "/invocations",
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        named = {"Content-Type": content_type, **(headers or {})}
        return self.request("POST", path, body, named, timeout)

    def ping(self) -> int | None:
        """Return the status of ``/ping``, or None while nobody listens."""
        try:
            return self.request("GET", "/ping", timeout=5).status
        except (ConnectionError, TimeoutError):
            return None

    def wait_until_ready(self, timeout: float = 60) -> list[int | None]:
        """Wait for 200 and return all that ``/ping`` said before it, without repetitions."""
        seen: list[int | None] = []
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self.process.poll() is None:
            status = self.ping()
            if not seen or seen[-1] != status:
                seen.append(status)
            if status == 200:
                return seen
            time.sleep(0.02)
        raise AssertionError(f"not ready after {timeout} s, /ping said {seen}:\n{self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that answer requests, children of the preloaded one."""
        python: dict[psutil.Process, int] = {}
        for process in self.descendants():
            with suppress(psutil.NoSuchProcess):  # one that was killed may end meanwhile
                if "model_service_worker" in " ".join(process.cmdline()):
                    python[process] = process.ppid()
        preloaded = {process.pid for process in python}
        return [process for process, parent in python.items() if parent in preloaded]


@contextmanager
def serving(
    model_dir: Path, *, command: list[str] | None = None, **environment: str
) -> Iterator[ServingProcess]:
    """Run ``serve`` over a model directory; at the end stop it and check that nothing is left."""
    port = _free_port()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command or [sys.executable, "-m", "dogbreeds.serving.server"],
                env={
                    **os.environ,
                    "SM_MODEL_DIR": str(model_dir),
                    "SAGEMAKER_BIND_TO_PORT": str(port),
                    **environment,
                },
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        server = ServingProcess(process, port, log)
        family: list[psutil.Process] = []
        try:
            yield server
        finally:
            if process.poll() is None:
                family = server.descendants()
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
                assert_gone(family)
            finally:
                process.kill()
                process.wait()
                for left in family:
                    if left.is_running():
                        left.kill()


def serve_and_ask(folder: Path, check: Callable[[ServingProcess], None], **environment: str) -> str:
    """Serve a folder with one worker, check it, and return the log."""
    with serving(folder, SAGEMAKER_MODEL_SERVER_WORKERS="1", **environment) as server:  # type: ignore[arg-type]
        server.wait_until_ready(200)
        check(server)
        return server.log()


def _free_port() -> int:
    """Return a free port that MMS accepts (at most 32767) and that no client is given."""
    for port in random.sample(range(20_000, 32_767), 50):
        with socket.socket() as candidate, suppress(OSError):
            candidate.bind(("0.0.0.0", port))
            return port
    raise AssertionError("found no free port")


def assert_gone(processes: list[psutil.Process], timeout: float = 5) -> None:
    """Fail if one of these processes still runs after the timeout."""
    _, alive = psutil.wait_procs(processes, timeout)
    assert not alive, f"left behind: {[' '.join(p.cmdline())[:200] for p in alive]}"


def save_tiny_archive(folder: Path) -> Path:
    """Write the archive of a small network with random weights and graphs; return its folder."""
    torch.manual_seed(0)
    tiny = artifact.Artifact(
        model=networks.create_model("squeezenet1_1", len(CLASSES)),
        architecture="squeezenet1_1",
        classes=CLASSES,
        preprocessing=Preprocessing(resize_size=72, image_size=64),
    )
    artifact.save(tiny, folder)
    add_graphs(folder, {}, quantize=True)
    return folder


def photo(format: str = "JPEG", size: tuple[int, int] = (120, 90), mode: str = "RGB") -> bytes:
    """Return an encoded picture with a gradient, so that it is not one colour."""
    gradient = Image.linear_gradient("L").resize(size)
    encoded = io.BytesIO()
    Image.merge(
        "RGB", (gradient, gradient.transpose(Image.Transpose.ROTATE_180), gradient)
    ).convert(mode).save(encoded, format)
    return encoded.getvalue()


def slow_photo() -> bytes:
    """Return a photo whose decoding takes half a second or more: many pixels in few bytes."""
    encoded = io.BytesIO()
    Image.new("RGB", (8000, 8000), (10, 20, 30)).save(encoded, "PNG")
    return encoded.getvalue()


def as_json(photo: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(photo).decode()}).encode()


def one_line_reason(log: str) -> str:
    """Return the reason in the last line of a failed server's log."""
    match = re.search(r"^serve: error: (.+)\Z", log.strip(), re.MULTILINE)
    assert match, log
    return match[1]
