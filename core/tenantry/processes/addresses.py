"""Where a process listens: IPv4 and IPv6 addresses and names, and how they stand in URLs."""

import errno
import socket

EVERYWHERE = "::"


def url(host: str, port: int, *, secure: bool = False) -> str:
    """Return the base URL of a server.

    Example:
        >>> url("127.0.0.1", 8080), url("::1", 8080, secure=True)
        ('http://127.0.0.1:8080', 'https://[::1]:8080')
    """
    return f"{'https' if secure else 'http'}://{shown(host, port)}"


def shown(host: str, port: int) -> str:
    """Return host and port for a message or a URL: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Take a port, without listening yet.

    Args:
        host: an address or a name, which is IPv4 where it is both; `::` is every address of both kinds,
            and of IPv4 alone on a machine without IPv6.
        port: 0: one that the system chooses.
        shared: whether other processes may take it as well.

    Raises:
        OSError: it can't be had; socket.gaierror: the name is unknown.
    """
    try:
        return _bound(host, port, shared=shared)
    except OSError as error:
        if host != EVERYWHERE or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound("0.0.0.0", port, shared=shared)  # noqa: S104 - what was asked for


def _bound(host: str, port: int, *, shared: bool) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, _, _, address = min(found, key=lambda each: each[0] is not socket.AF_INET)
    own = socket.socket(family, kind)
    try:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, host != EVERYWHERE)
        own.bind(address)
    except OSError:
        own.close()
        raise
    return own
