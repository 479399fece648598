"""Download one large file, resuming after a broken connection or a stopped command."""

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
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each retry without progress
_TIMEOUT = 60.0  # seconds without a byte
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # transient HTTP status codes


class DownloadError(DogbreedsError, OSError):
    """The file cannot be downloaded; the message says why, and whether to retry."""


class BrokenOffError(DogbreedsError, OSError):
    """The connection broke; the bytes received so far are good."""


@dataclass(frozen=True)
class Opened:
    """An open remote file."""

    start: int  # offset in the file at which the stream begins
    total: int | None  # size of the file in bytes; None if the server does not say
    version: str  # changes when the file does, e.g. its ETag; empty if unknown
    read: Callable[[int], bytes]  # up to so many bytes; none at the end


class Remote(Protocol):
    """A file that can be opened at any offset."""

    address: str

    def open(self, start: int, version: str) -> AbstractContextManager[Opened]:
        """Open it at `start` if it is still of this version, else at its beginning.

        BrokenOffError if a retry makes sense, DownloadError if not.
        """


def download(remote: Remote, file: Path, on_start: Callable[[int | None], object],
             on_progress: Callable[[int], object]) -> None:  # fmt: skip
    """Download to a file; an existing part of the same version is kept.

    On failure the file stays, with ``NAME.json`` next to it, for the next call to resume.
    `on_start` is called with the size in bytes, or None, whenever the file is opened, and may
    raise; `on_progress` with the number of bytes present so far. DownloadError if the server
    refuses the file, or the connection breaks repeatedly; OSError e.g. if the disk is full.
    """
    state_file = file.with_name(f"{file.name}.json")
    version = _known_version(state_file, remote.address, file)
    failures = best = 0  # `failures` counts tries since `best`, the most bytes so far
    while True:
        have = file.stat().st_size if version and file.exists() else 0
        total, reason = None, "the connection was closed"
        try:
            with remote.open(have, version) as opened:
                if opened.start and (opened.start, opened.version) != (have, version):
                    version = ""  # start over: this is another range, or another file
                    raise BrokenOffError("the server sent another range than requested")
                version, total = opened.version, opened.total
                on_start(total)
                write_json(state_file, {"address": remote.address, "version": version})
                have = _append(opened, file, on_progress)
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
                f"{remote.address}: {reason} after {have} of {total or 'unknown'} bytes,"
                " repeatedly: run the same command later to resume"
            )
        time.sleep(_PAUSES[failures])
        failures += 1


def _known_version(state_file: Path, address: str, file: Path) -> str:
    try:
        state = json.loads(state_file.read_text())
        return str(state["version"]) if state["address"] == address and file.exists() else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _append(opened: Opened, file: Path, on_progress: Callable[[int], object]) -> int:
    start = opened.start
    with file.open("r+b" if file.exists() else "wb") as out:
        out.truncate(start)
        out.seek(start)
        on_progress(start)
        while True:
            try:
                block = opened.read(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise BrokenOffError(f"the connection broke ({error})") from error
            if not block:
                return start
            out.write(block)
            start += len(block)
            on_progress(start)


@dataclass
class HttpFile:
    """A file on a web server, by its http:// or https:// address."""

    address: str

    @contextmanager
    def open(self, start: int, version: str) -> Iterator[Opened]:
        """See `Remote`."""
        # Offsets are meaningless in a compressed response.
        headers = {"Accept-Encoding": "identity", "User-Agent": "dogbreeds"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": version}
        request = urllib.request.Request(self.address, headers=headers)  # noqa: S310  (checked)
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416 and start:
                    # Nothing is left to read if the file is as long as ours; else it changed.
                    _, total = _content_range(error.headers.get("Content-Range", ""))
                    known = version if total == start else f"not {version}"
                    yield Opened(start, total, known, lambda _: b"")
                    return
                if error.code in _PASSING:
                    raise BrokenOffError(f"HTTP {error.code} {error.reason}") from error
                raise DownloadError(f"{self.address}: HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise BrokenOffError(f"no answer ({getattr(error, 'reason', error)})") from error
        with response:
            length = response.headers.get("Content-Length", "")
            start, total = 0, int(length) if length.isdecimal() else None
            if response.status == 206:
                start, total = _content_range(response.headers.get("Content-Range", ""))
            # If-Range takes no weak ETags (RFC 9110, 13.1.5); a date works too.
            tag = response.headers.get("ETag", "")
            known = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
            yield Opened(start, total, known, response.read)


def _content_range(text: str) -> tuple[int, int | None]:
    """Parse ``bytes 100-199/200`` or ``bytes */200``: the first byte and the size."""
    span, _, size = text.removeprefix("bytes").strip().partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdecimal() else -1, int(size) if size.isdecimal() else None
