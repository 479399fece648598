"""Starts the model server as the image's `serve` does, waits until it is ready, stops it."""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogbreeds.local.try_page.server import try_page
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import content_type
from dogbreeds.system.ports import free_port
from dogbreeds.system.processes import die_with_parent, stop_group

_READY_SECONDS = 240.0  # SageMaker waits as long
_STOP_SECONDS = 30.0  # SageMaker waits as long between SIGTERM and SIGKILL

HIGHEST_PORT = 32767
"""The model server accepts no higher one."""


class ServerFailedError(DogbreedsError, RuntimeError):
    """The server did not become ready; the message is its last line on stderr."""


class RefusedError(DogbreedsError, ValueError):
    """The server rejected a photo; the message has its answer."""


@dataclass(frozen=True)
class RunningServer:
    """A server of an artifact that is ready at `url`, e.g. ``http://127.0.0.1:8080``."""

    artifact: Path
    url: str
    process: "subprocess.Popen[bytes]"


def _command(_: Path) -> list[str]:
    return [sys.executable, "-m", "dogbreeds.serving.server"]


@contextmanager
def serving(
    artifact: Path, port: int, log: Path,
    command: Callable[[Path], list[str]] = _command, **settings: str,
) -> Iterator[RunningServer]:  # fmt: skip
    """Yield a server of an artifact, a ``model.tar.gz`` or its folder, that is ready for requests.

    Only this machine can reach it; it stops when the context ends. `command` returns the command
    line for the artifact's folder, `settings` are additional environment variables; `log` gets what
    the server prints. ServerFailedError if the artifact cannot be unpacked, or the server ended or
    was not ready in 4 minutes.
    """
    with tempfile.TemporaryDirectory(dir=log.parent) as name, log.open("wb") as output:
        folder = artifact if artifact.is_dir() else Path(name)
        if folder is not artifact:  # unpack it as SageMaker does: it may contain code of its own
            try:
                with tarfile.open(artifact) as tar:
                    tar.extractall(folder, filter="data")
            except tarfile.TarError as error:
                raise ServerFailedError(f"cannot unpack {artifact}: {error}") from error
        given = {"SM_MODEL_DIR": str(folder.resolve()), "SAGEMAKER_BIND_TO_PORT": str(port),
                 "DOGBREEDS_HOST": "127.0.0.1"}  # fmt: skip
        process = subprocess.Popen(
            command(folder),
            env={**os.environ, **given, **settings}, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only us; we stop the server
            preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield RunningServer(artifact, url, process)
        finally:
            stop_group(process, _STOP_SECONDS)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else f"exit code {process.returncode}"
            raise ServerFailedError(reason)
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=2):  # noqa: S310
                return
        except OSError:  # refused, or 503: not ready
            time.sleep(0.1)
    raise ServerFailedError(f"not ready after {_READY_SECONDS:g} s; see {log}")


def serve_until_stopped(running: RunningServer, port: int, photos: Sequence[Path]) -> None:
    """Print how to send requests to a server, serve a page to try it, and wait for Ctrl-C.

    The page takes the first free port after `port`, the server's, and offers `photos`. SIGTERM must
    raise KeyboardInterrupt. ServerFailedError if the server ends by itself.
    """
    photo = photos[0] if photos else "PHOTO.jpg"
    post = f"curl -H 'Content-Type: image/jpeg' --data-binary '@{photo}'"
    with try_page(running.url, free_port(port + 1), running.artifact, photos) as page:
        print(f"\nServing on {running.url} until Ctrl-C. Try:\n\n  {post} {running.url}/invocations"
              f"\n\nor open {page} in a browser.", flush=True)  # fmt: skip
        try:
            code = running.process.wait()
        except KeyboardInterrupt:
            return
    raise ServerFailedError(f"the server ended by itself with exit code {code}")


def predict(url: str, photo: Path) -> dict[str, Any]:
    """Post a photo to ``/invocations`` of the server at `url`; RefusedError if it is rejected.

    The prediction has ``predicted_label``, ``class_name``, ``probability``, ``top_k``, ...
    """
    request = urllib.request.Request(  # noqa: S310
        f"{url}/invocations", data=photo.read_bytes(), headers={"Content-Type": content_type(photo)}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer: dict[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")
        raise RefusedError(f"{photo} is refused: {error.code} {reason}") from error
    return answer
