"""Start the model server as the image's `serve` does, wait until it is ready, stop it."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.processes import die_with_parent

_READY_SECONDS = 240.0  # SageMaker's own patience
_STOP_SECONDS = 30.0  # likewise, from SIGTERM to SIGKILL
_CONTENT_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}


class ServerFailedError(DogbreedsError, RuntimeError):
    """The server did not become ready; its own last line on stderr tells why."""


@dataclass(frozen=True)
class RunningServer:
    """A server that is ready.

    Attributes:
        url: Its address, e.g. ``http://127.0.0.1:8080``.
        process: The process of `serve`.
    """

    url: str
    process: "subprocess.Popen[bytes]"


@contextmanager
def serving(model_dir: Path, port: int, log: Path) -> Iterator[RunningServer]:
    """Serve an archive while the context lasts.

    Args:
        model_dir: Where the archive lies.
        port: Where to listen.
        log: File for what the server prints.

    Yields:
        The server, ready to answer.

    Raises:
        ServerFailedError: It ended, or was not ready in 4 minutes.
    """
    environment = {
        **os.environ,
        "SM_MODEL_DIR": str(model_dir.resolve()),
        "SAGEMAKER_BIND_TO_PORT": str(port),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dogbreeds.serving.server"],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only us; we stop the server
            preexec_fn=die_with_parent,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, url, log)
            yield RunningServer(url, process)
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # its children die with it (see processes.py)
                process.wait()


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


def predict(url: str, photo: Path) -> dict[str, Any]:
    """Post a photo to ``/invocations``.

    Args:
        url: Address of a server.
        photo: A photo file.

    Returns:
        The answer: ``predicted_label``, ``class_name``, ``probability``, ``top_k``, ...

    Raises:
        urllib.error.HTTPError: The server refused the photo.
    """
    content_type = _CONTENT_TYPES.get(photo.suffix.lower(), "application/octet-stream")
    request = urllib.request.Request(  # noqa: S310
        f"{url}/invocations", data=photo.read_bytes(), headers={"Content-Type": content_type}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer
