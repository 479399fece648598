"""Start the model server as the image's `serve` does, wait until it is ready, stop it."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dogbreeds.local.try_page.server import try_page
from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.ports import free_port
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
def serving(artifact: Path, port: int, log: Path) -> Iterator[RunningServer]:
    """Serve an archive while the context lasts.

    Args:
        artifact: A ``model.tar.gz``, or the folder of one.
        port: Where to listen.
        log: File for what the server prints.

    Yields:
        The server, ready to answer.

    Raises:
        ServerFailedError: It ended, or was not ready in 4 minutes.
    """
    with tempfile.TemporaryDirectory(dir=log.parent) as name, log.open("wb") as output:
        folder = artifact if artifact.is_dir() else Path(name)
        if folder is not artifact:
            (folder / "model.tar.gz").symlink_to(artifact.resolve())
        environment = {
            **os.environ,
            "SM_MODEL_DIR": str(folder.resolve()),
            "SAGEMAKER_BIND_TO_PORT": str(port),
        }
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


def serve_until_stopped(running: RunningServer, port: int, photo: Path | None) -> None:
    """Print how to ask a server, with a page to try it, and wait for Ctrl-C or SIGTERM.

    Args:
        running: The server.
        port: Its port; the page takes the first free one behind it.
        photo: For the example.

    Raises:
        ServerFailedError: The server ended by itself.
    """
    post = f"curl -H 'Content-Type: image/jpeg' --data-binary '@{photo or 'PHOTO.jpg'}'"
    with try_page(running.url, free_port(port + 1)) as page:
        print(
            f"\nServing on {running.url} until Ctrl-C. Try:"
            f"\n\n  {post} {running.url}/invocations\n\nor open {page} in a browser.",
            flush=True,
        )
        try:
            code = running.process.wait()
        except KeyboardInterrupt:
            return
    raise ServerFailedError(f"the server ended by itself with exit code {code}")


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
