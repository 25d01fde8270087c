"""A TCP proxy that ends connections early, as a network does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


@contextmanager
def running(upstream_url: str, *, cut_after_bytes: int) -> Iterator[str]:
    """Pass requests on to a server, and end each connection after so many bytes of its answer.

    Args:
        upstream_url: of an HTTP server.
        cut_after_bytes: counted from the first byte of the status line.

    Yields:
        the proxy's own base URL.
    """
    upstream = urlsplit(upstream_url)
    listening = socket.create_server(("127.0.0.1", 0))
    address = (str(upstream.hostname), int(upstream.port or 80))
    thread = threading.Thread(target=_accept, args=(listening, address, cut_after_bytes), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


def _accept(listening: socket.socket, upstream: tuple[str, int], cut_after_bytes: int) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:  # closed: the block has ended
            return
        args = (client, upstream, cut_after_bytes)
        threading.Thread(target=_pass_on, args=args, daemon=True).start()


def _pass_on(client: socket.socket, upstream: tuple[str, int], left: int) -> None:
    with client, socket.create_connection(upstream) as server, suppress(OSError):
        server.settimeout(5)
        server.sendall(client.recv(1 << 16))
        while left > 0 and (data := server.recv(left)):
            client.sendall(data)
            left -= len(data)
