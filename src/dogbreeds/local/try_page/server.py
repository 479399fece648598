"""Serves the page, and forwards its requests to the model server.

It has its own port, on this machine only: the model server stays what SageMaker runs, without
a page or CORS headers.
"""

import contextlib
import csv
import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dogbreeds.html.page import asset, page
from dogbreeds.html.thumbnails import thumbnail
from dogbreeds.model import document

WRONG_FILE = "wrong_answers.csv"
"""What users say is wrong, one line per answer, in the folder of the artifact."""
_COLUMNS = ("file", "said", "probability", "right", "model_version")

_TIMEOUT_SECONDS = 65  # the model server's own is 60
_CHUNK_BYTES = 2**16  # also the most for a line of `WRONG_FILE`


@contextmanager
def try_page(
    model_server: str, port: int, artifact: Path, examples: Sequence[Path] = ()
) -> Iterator[str]:
    """Serve the page for the model server at a URL while the context lasts; yield the page's URL.

    It listens on a port of loopback; 0: any free port. OSError if the port cannot be used.
    `artifact` is what the server serves, a ``model.tar.gz`` or its folder; answers that users call
    wrong are kept beside it. `examples` are photos that the page offers.
    """
    offered = [{"file": photo.name, "thumbnail": thumbnail(photo)} for photo in examples]
    html = page(
        "Which class is it?", asset("try.html", __package__),
        css=asset("try.css", __package__), script=asset("try.js", __package__),
        data={"url": model_server, "model": _model(artifact), "examples": offered},
        policy={"connect-src": "'self'", "img-src": "data: blob:", "media-src": "blob:"},
    ).encode()  # fmt: skip
    target = urlsplit(model_server).netloc

    class Handler(_Handler):
        page = html
        model_server = target
        photos = tuple(examples)
        wrong = artifact.absolute().parent / WRONG_FILE

    # Each connection needs a thread: browsers open some that they then do not use.
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _model(artifact: Path) -> dict[str, Any] | None:
    """Return a model's document and version; None if the artifact is not this project's."""
    with contextlib.suppress(document.ArtifactError):
        data = document.read_file(artifact, document.WEIGHTS_FILE)
        version = document.describe(data, artifact).version
        return {**document.parse_document(data, artifact), "version": version}
    return None


class _Handler(BaseHTTPRequestHandler):
    page: bytes
    model_server: str
    photos: tuple[Path, ...]
    wrong: Path

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(200, "text/html; charset=utf-8", self.page)
        elif self.path == "/ping":
            self._forward()
        elif self.path in (places := [f"/examples/{i}" for i in range(len(self.photos))]):
            photo = self.photos[places.index(self.path)]
            self._answer(200, "application/octet-stream", photo.read_bytes())
        else:
            self._answer(404, "text/plain", b"not found\n")

    def do_POST(self) -> None:
        if self.path.partition("?")[0] == "/invocations":
            self._forward()
        elif self.path == "/wrong" and self.headers.get("Content-Type") == "application/json":
            self._note()
        else:
            self.close_connection = True  # the body is not read
            self._answer(404, "text/plain", b"not found\n")

    def _forward(self) -> None:
        forwarded = ("Content-Type", "Content-Length", "Accept")
        headers = {name: value for name in forwarded if (value := self.headers.get(name))}
        connection = http.client.HTTPConnection(self.model_server, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request(self.command, self.path, self._body(), headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close_connection = True  # part of the body may be unread
            reason = {"error": "the model server does not answer", "got": str(error)}
            self._answer(502, "application/json", json.dumps(reason).encode())
            return
        finally:
            connection.close()
        self.send_response(response.status)
        for name in ("Content-Type", "Server-Timing"):
            if value := response.headers.get(name):
                self.send_header(name, value)
        self._end(answer)

    def _note(self) -> None:
        """Keep an answer; no other site's page can send it, as it cannot set this content type."""
        try:
            length = int(self.headers.get("Content-Length") or 0)
            answer = json.loads(self.rfile.read(min(length, _CHUNK_BYTES)))
            time = datetime.now(UTC).isoformat(timespec="seconds")
            row = (time, *(answer.get(name, "") for name in _COLUMNS))
            new = not self.wrong.exists()
            with self.wrong.open("a", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerows([("time", *_COLUMNS), row] if new else [row])
        except (OSError, ValueError, AttributeError) as error:
            self._answer(500, "text/plain; charset=utf-8", str(error).encode())
        else:
            self._answer(200, "text/plain; charset=utf-8", str(self.wrong).encode())

    def _body(self) -> Iterator[bytes]:
        missing = int(self.headers.get("Content-Length") or 0)
        while missing and (chunk := self.rfile.read(min(missing, _CHUNK_BYTES))):
            missing -= len(chunk)
            yield chunk

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self._end(body)

    def _end(self, body: bytes) -> None:
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
