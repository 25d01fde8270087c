"""Ports that the system chose."""

import contextlib
import socket


def free_ports(count: int) -> list[int]:
    """Different ports on 127.0.0.1 that nobody listens on, for programs that can't choose their own.

    Another process may take one before it is used; the code that starts the program tries again then.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def is_open(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
