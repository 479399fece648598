"""Unit tests use neither sockets nor other processes; `tests/integration` is for what does."""

import os
import sys
from collections.abc import Iterator

import pytest

# Events of CPython's audit table (https://docs.python.org/3/library/audit_events.html).
FORBIDDEN = {
    "socket.bind", "socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system",
    "os.fork", "os.forkpty", "os.posix_spawn",
}  # fmt: skip

_used: list[str] = []
_watching = False


def _importing() -> bool:
    """Tell whether a module is being imported: some libraries look around when they are."""
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
    return False


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event in FORBIDDEN and not _importing():
        _used.append(f"{event} {arguments}")
        raise RuntimeError(f"a unit test may not use {event}: move it to tests/integration")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos are then read in this process, not in a pool."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture(autouse=True)
def neither_sockets_nor_processes() -> Iterator[None]:
    """Fail a test that uses them, even if the code under test catches the error."""
    global _watching
    _used.clear()
    _watching = True
    yield
    _watching = False
    assert not _used, f"move this test to tests/integration: it used {_used[0]:.200}"
