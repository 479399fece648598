"""TCP ports of this machine."""

import socket

_HIGHEST = 65535


def check_port(port: int, highest: int = _HIGHEST) -> None:
    """Refuse a port that a server could not listen on, before long work rather than after it.

    Args:
        port: The port; the server will bind all addresses.
        highest: The highest one that the server takes.

    Raises:
        OSError: It is out of range or taken.
    """
    if not 0 < port <= highest:
        raise OSError(f"expected a port from 1 to {highest}, got {port}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  (as the server does)
        except OSError as error:
            raise OSError(
                f"port {port} cannot be used ({error.strerror}): choose another"
            ) from None


def free_port(first: int, count: int = 100) -> int:
    """Return the first port from `first` on that can be listened on.

    Raises:
        OSError: All `count` ports are taken.
    """
    for port in range(first, first + count):
        try:
            check_port(port)
        except OSError:
            continue
        return port
    raise OSError(f"no free port between {first} and {first + count}")
