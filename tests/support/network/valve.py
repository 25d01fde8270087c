"""A TCP proxy with a handle: it keeps bytes back or cuts connections, whatever they carry (TLS too)."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 16
_LOOK_S = 0.05  # how soon a turn of the handle is noticed


class Valve:
    """Open at first: everything passes.

    Args:
        upstream_url: of the server behind it.
        answer_bytes: of each connection that pass before it is cut, as by a network; None: all.

    Attributes:
        url: of the proxy, with the scheme of the server behind it.
        kept_back_bytes: of requests that came while they were held.
    """

    def __init__(self, upstream_url: str, *, answer_bytes: int | None = None) -> None:
        upstream = urlsplit(upstream_url)
        self._upstream = (str(upstream.hostname), int(upstream.port or 443))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"{upstream.scheme}://127.0.0.1:{self._listening.getsockname()[1]}"
        self._answer_bytes = answer_bytes
        self.kept_back_bytes = 0
        self._requests_pass = threading.Event()
        self._answers_pass = threading.Event()
        self._lock = threading.Lock()
        self._life = 0  # a connection of a former one is cut
        self._refusing = False
        self._closed = False
        self.open()
        threading.Thread(target=self._accept, name="valve", daemon=True).start()

    def open(self) -> None:
        """Let everything pass, what was kept back included."""
        self._refusing = False
        self._requests_pass.set()
        self._answers_pass.set()

    def hold_requests(self) -> None:
        """Keep back what clients send; answers, and events of a watch, still reach them."""
        with self._lock:
            self.kept_back_bytes = 0
        self._requests_pass.clear()
        self._answers_pass.set()

    def hold_answers(self) -> None:
        """Let requests pass, kept ones too, and keep back what the server says."""
        self._answers_pass.clear()
        self._requests_pass.set()

    def cut(self) -> None:
        """End every connection, drop what was kept back, and refuse new ones."""
        self._refusing = True
        self._life += 1

    def redirect(self, upstream_url: str) -> None:
        """End every connection; new ones go to another server."""
        upstream = urlsplit(upstream_url)
        self.cut()
        self._upstream = (str(upstream.hostname), int(upstream.port or 443))
        self.open()

    def close(self) -> None:
        """End all of it."""
        self._closed = True
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed
                return
            if self._refusing:
                client.close()
                continue
            threading.Thread(target=self._connect, args=(client, self._life), daemon=True).start()

    def _connect(self, client: socket.socket, life: int) -> None:
        with client:
            try:
                server = socket.create_connection(self._upstream, timeout=5)
            except OSError:  # it does not run: the client sees its connection end
                return
            with server:
                ended = threading.Event()
                back = threading.Thread(
                    target=self._pass_on,
                    args=(server, client, self._answers_pass, life, ended),
                    daemon=True,
                )
                back.start()
                self._pass_on(client, server, self._requests_pass, life, ended)
                back.join()

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        passes: threading.Event,
        life: int,
        ended: threading.Event,
    ) -> None:
        """Until either side ends, or the connection is cut."""
        left = self._answer_bytes if passes is self._answers_pass else None
        with selectors.DefaultSelector() as selector:
            selector.register(source, selectors.EVENT_READ)
            try:
                while life == self._life and not ended.is_set():
                    if not selector.select(_LOOK_S):
                        continue
                    data = source.recv(_CHUNK_BYTES)
                    if not data or not self._may_pass(data, passes, life, ended):
                        break
                    target.sendall(data if left is None else data[:left])
                    if left is not None and (left := left - len(data)) <= 0:
                        break
            except OSError:
                pass
            finally:
                ended.set()

    def _may_pass(self, data: bytes, passes: threading.Event, life: int, ended: threading.Event) -> bool:
        """Wait for the handle; False: the connection was cut, and this is lost."""
        if not passes.is_set() and passes is self._requests_pass:
            with self._lock:
                self.kept_back_bytes += len(data)
        while not passes.wait(_LOOK_S):
            if life != self._life or ended.is_set():
                return False
        return life == self._life


@contextmanager
def running(upstream_url: str, *, answer_bytes: int | None = None) -> Iterator[Valve]:
    """A valve before a server on this machine, gone with the block."""
    valve = Valve(upstream_url, answer_bytes=answer_bytes)
    try:
        yield valve
    finally:
        valve.close()
