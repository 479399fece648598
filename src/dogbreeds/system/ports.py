"""TCP ports of this machine."""

import contextlib
import socket


def check_port(port: int, highest: int = 65535) -> None:
    """Raise OSError if a port is out of range (1 to `highest`) or in use, before long work."""
    if not 0 < port <= highest:
        raise OSError(f"expected a port from 1 to {highest}, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  (the server does so, too)
        except OSError as error:
            reason = f"port {port} cannot be used ({error.strerror}): choose another"
            raise OSError(reason) from None


def free_port(first: int) -> int:
    """Return the first free port of a hundred from `first` on; OSError if there is none."""
    for port in range(first, first + 100):
        with contextlib.suppress(OSError):
            check_port(port)
            return port
    raise OSError(f"no free port between {first} and {first + 99}")
