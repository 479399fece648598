"""Download one large file, and go on where a broken connection or a stopped command left off."""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dogbreeds.system.errors import DogbreedsError
from dogbreeds.system.files import write_json

_BLOCK = 2**20
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before trying again where nothing more came
_TIMEOUT = 60.0  # seconds without a byte
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # HTTP states that may be over soon


class DownloadError(DogbreedsError, OSError):
    """The file cannot be had; the message says why, and whether trying again makes sense."""


class BrokenOffError(DogbreedsError, OSError):
    """The connection broke; what came so far is good."""


class Reader(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""


@dataclass(frozen=True)
class Opened:
    """A remote file, opened.

    Attributes:
        start: Where in the file the stream begins.
        total: Size of the file in bytes; None: the server does not say.
        version: What changes when the file does, e.g. its ETag; empty: nothing is known to.
        stream: The bytes from `start` on.
    """

    start: int
    total: int | None
    version: str
    stream: Reader


class Remote(Protocol):
    """A file that can be opened somewhere in its middle."""

    @property
    def address(self) -> str:
        """Where it is."""

    def open(self, start: int, version: str) -> AbstractContextManager[Opened]:
        """Open it at `start` if it is still of this version, otherwise at its beginning.

        Raises:
            BrokenOffError: Trying again makes sense.
            DownloadError: It does not.
        """


def download(remote: Remote, file: Path, on_start: Callable[[int | None], object],
             on_progress: Callable[[int], object]) -> None:  # fmt: skip
    """Download to a file; what is there of it already is kept if it is of the same version.

    Args:
        remote: What to download.
        file: It and ``NAME.json`` beside it stay behind when this fails, to go on from.
        on_start: Called with the size in bytes, or None, whenever the file is opened; may raise.
        on_progress: Called with the number of bytes that are there by now.

    Raises:
        DownloadError: The file cannot be had, or the connection breaks again and again.
        OSError: It cannot be written, e.g. because the disk is full.
    """
    state_file = file.with_name(f"{file.name}.json")
    version = _known_version(state_file, remote.address, file)
    failures = best = 0  # of tries, and the most bytes that were there after one
    while True:
        have = file.stat().st_size if version and file.exists() else 0
        total, reason = None, "the connection was closed"
        try:
            with remote.open(have, version) as opened:
                if opened.start and (opened.start, opened.version) != (have, version):
                    version = ""  # begin anew: this is another part, or of another file
                    raise BrokenOffError("the server answered another part than asked for")
                version, total = opened.version, opened.total
                on_start(total)
                write_json(state_file, {"address": remote.address, "version": version})
                have = _append(opened.stream, file, opened.start, on_progress)
                if total is None:
                    return
        except BrokenOffError as error:
            have = file.stat().st_size if file.exists() else 0
            reason = str(error)
        if have == total:
            return
        if have > best:
            best, failures = have, 0
        if failures == len(_PAUSES):
            raise DownloadError(
                f"{remote.address}: {reason} after {have} of {total or 'unknown'} bytes, again and"
                " again: run the same command later, it goes on from there"
            )
        time.sleep(_PAUSES[failures])
        failures += 1


def _known_version(state_file: Path, address: str, file: Path) -> str:
    try:
        state = json.loads(state_file.read_text())
        return str(state["version"]) if state["address"] == address and file.exists() else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _append(stream: Reader, file: Path, start: int, on_progress: Callable[[int], object]) -> int:
    with file.open("r+b" if file.exists() else "wb") as out:
        out.truncate(start)
        out.seek(start)
        on_progress(start)
        while block := _read(stream):
            out.write(block)
            start += len(block)
            on_progress(start)
    return start


def _read(stream: Reader) -> bytes:
    try:
        return stream.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise BrokenOffError(f"the connection broke ({error})") from error


class HttpFile:
    """A file on a web server.

    Args:
        address: ``http://`` or ``https://``.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    @contextmanager
    def open(self, start: int, version: str) -> Iterator[Opened]:
        """See `Remote`."""
        # Compressed on the way, no position would mean anything.
        headers = {"Accept-Encoding": "identity", "User-Agent": "dogbreeds"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": version}
        request = urllib.request.Request(self.address, headers=headers)  # noqa: S310  (checked)
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and start:
                    yield self._past_the_end(error, start, version)
                    return
                if error.code in _PASSING:
                    raise BrokenOffError(f"HTTP {error.code} {error.reason}") from error
                raise DownloadError(f"{self.address}: HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOffError(f"no answer ({getattr(error, 'reason', error)})") from error
        with response:
            yield self._opened(response)

    def _opened(self, response: http.client.HTTPResponse) -> Opened:
        # If-Range takes no weak ETags (RFC 9110, 13.1.5); a date does then.
        tag = response.headers.get("ETag", "")
        known = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        if response.status == 206:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            return Opened(start, total, known, response)
        length = response.headers.get("Content-Length", "")
        return Opened(0, int(length) if length.isdecimal() else None, known, response)

    def _past_the_end(self, error: urllib.error.HTTPError, start: int, version: str) -> Opened:
        """Nothing is left to read if the file is as long as what we have; else it changed."""
        _, total = _content_range(error.headers.get("Content-Range", ""))
        if total == start:
            return Opened(start, total, version, _Nothing())
        return Opened(start, total, f"not {version}", _Nothing())


class _Nothing:
    def read(self, size: int, /) -> bytes:
        return b""


def _content_range(text: str) -> tuple[int, int | None]:
    """Read ``bytes 100-199/200`` or ``bytes */200``: the first byte and the size."""
    span, _, size = text.removeprefix("bytes").strip().partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdecimal() else -1, int(size) if size.isdecimal() else None
