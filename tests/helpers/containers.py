"""Small helpers around the docker command, for the tests of this folder."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
SPLITS = ("train", "valid", "test")


def run(
    *command: str, timeout: float = 120, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository root; stdout and stderr come together in ``stdout``."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}"
    return done


@contextmanager
def container(*arguments: str) -> Iterator[str]:
    """A container of ``docker run --detach ARGUMENTS``, by its id; removed at the end."""
    identifier = run("docker", "run", "--detach", *arguments).stdout.strip().splitlines()[-1]
    try:
        yield identifier
    finally:
        run("docker", "rm", "--force", "--volumes", identifier)


def logs(identifier: str) -> str:
    """What the container has printed so far."""
    return run("docker", "logs", identifier).stdout


def wait_for_log(identifier: str, text: str, seconds: float) -> None:
    """Wait until the container has printed a text."""
    deadline = time.monotonic() + seconds
    while text not in (printed := logs(identifier)):
        running = state(identifier)["Running"]
        assert running and time.monotonic() < deadline, f"no {text!r} in:\n{printed}"
        time.sleep(0.5)


def state(identifier: str) -> dict[str, Any]:
    """The container's state: Running, ExitCode, ..."""
    answer = run("docker", "inspect", "--format", "{{json .State}}", identifier).stdout
    decoded: dict[str, Any] = json.loads(answer)
    return decoded


def stop(identifier: str, grace: int) -> float:
    """SIGTERM, and SIGKILL after the grace time as SageMaker does; the seconds it took."""
    started = time.monotonic()
    run("docker", "stop", "--time", str(grace), identifier, timeout=grace + 60)
    return time.monotonic() - started


@dataclass(frozen=True)
class Answer:
    """A response of the server."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The decoded body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Server:
    """A serving container that listens on a port of this machine."""

    container: str
    port: int

    def get(self, path: str, timeout: float = 5) -> Answer:
        """GET a path; status 0 where nothing answers yet."""
        return self._send(urllib.request.Request(self._url(path)), timeout)

    def invoke(self, body: bytes, content_type: str, timeout: float = 60) -> Answer:
        """POST to /invocations."""
        request = urllib.request.Request(
            self._url("/invocations"), data=body, headers={"Content-Type": content_type}
        )
        return self._send(request, timeout)

    def wait_until_ready(self, seconds: float = 90) -> None:
        """Wait until /ping answers 200."""
        deadline = time.monotonic() + seconds
        while self.get("/ping").status != 200:
            assert state(self.container)["Running"], logs(self.container)
            assert time.monotonic() < deadline, logs(self.container)
            time.sleep(0.2)

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _send(self, request: urllib.request.Request, timeout: float) -> Answer:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return Answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())
        except OSError:
            return Answer(0, b"")


@contextmanager
def server(image: str, model: Path, *options: str) -> Iterator[Server]:
    """A container of the serving image over a model folder, with nothing writable but /tmp."""
    restrictions = ("--read-only", "--tmpfs", "/tmp", "--publish", "127.0.0.1::8080")
    mounts = ("--volume", f"{model}:/opt/ml/model:ro")
    with container(*restrictions, *mounts, *options, image, "serve") as identifier:
        address = run("docker", "port", identifier, "8080/tcp").stdout.split()[0]
        yield Server(identifier, int(address.rpartition(":")[2]))


@dataclass(frozen=True)
class Job:
    """A training job: a folder that a container sees as /opt/ml, and the data channels."""

    root: Path
    channels: Mapping[str, Path]

    @classmethod
    def create(
        cls, root: Path, channels: Mapping[str, Path], hyperparameters: Mapping[str, str]
    ) -> "Job":
        """Write the files that SageMaker writes before it starts a training container."""
        for folder in ("input/config", "model", "output", "checkpoints", "code"):
            (root / folder).mkdir(parents=True)
        for name in channels:
            (root / "input/data" / name).mkdir(parents=True)
        host = {"current_host": "algo-1", "hosts": ["algo-1"], "network_interface_name": "eth0"}
        documents: dict[str, object] = {
            "hyperparameters": dict(hyperparameters),
            "inputdataconfig": {name: {"TrainingInputMode": "File"} for name in channels},
            "resourceconfig": host,
        }
        for name, document in documents.items():
            (root / "input/config" / f"{name}.json").write_text(json.dumps(document))
        return cls(root, channels)

    @property
    def model(self) -> Path:
        """Where the training leaves the archive."""
        return self.root / "model"

    @property
    def failure(self) -> str:
        """The reason that SageMaker would show, or nothing."""
        path = self.root / "output/failure"
        return path.read_text() if path.exists() else ""

    def arguments(self, image: str, *options: str) -> list[str]:
        """What follows ``docker run``: no network, Docker's small default /dev/shm."""
        mounts = [f"--volume={self.root}:/opt/ml"]
        for name, folder in self.channels.items():
            mounts.append(f"--volume={folder}:/opt/ml/input/data/{name}:ro")
        return ["--network=none", *mounts, *options, image, "train"]

    def train(
        self, image: str, *options: str, timeout: float = 240, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run the container to its end."""
        arguments = self.arguments(image, *options)
        return run("docker", "run", "--rm", *arguments, timeout=timeout, check=check)


MakeJob = Callable[..., Job]
"""The fixture `make_job`."""


@contextmanager
def registry_process(folder: Path, **settings: object) -> Iterator[str]:
    """A real registry on a free port of this machine, by its address.

    Args:
        folder: Where it keeps its files.
        settings: Sections of its configuration besides storage and address, e.g. ``auth``.
    """
    program = shutil.which("docker-registry")
    if program is None:
        assert not os.environ.get("CI"), "docker-registry is not on the PATH"
        pytest.skip("needs docker-registry (Debian's package of that name)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **settings,
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML too
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 20
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
