"""A DNS resolver that records what it is asked and knows no name."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.tracing import query_name

_NO_SUCH_NAME = 3  # RFC 1035, section 4.1.1
_ANSWER = 0x80  # likewise: the first bit of the flags


@contextmanager
def recording_resolver(address: str) -> Iterator[list[str]]:
    """Answer DNS queries on an address of this machine.

    Yields:
        The names asked for so far, which grows.

    Raises:
        OSError: Port 53 of the address is taken, or this is not root.
    """
    names: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))
        thread = threading.Thread(target=_answer, args=(server, names))
        thread.start()
        try:
            yield names
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", (address, 53))  # ends the thread
            thread.join()


def _answer(server: socket.socket, names: list[str]) -> None:
    while True:
        query, client = server.recvfrom(4096)
        if not query:
            return
        names.append(query_name(query))
        flags = bytes([query[2] | _ANSWER, _NO_SUCH_NAME])
        server.sendto(query[:2] + flags + query[4:], client)
