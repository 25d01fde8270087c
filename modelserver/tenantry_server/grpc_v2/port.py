"""The port: where gRPC is listened for, in the event loop of this process, and its certificate."""

import asyncio
import contextlib
import ssl
from typing import Any

import structlog

from tenantry.processes import addresses
from tenantry.trust.certificates import Files
from tenantry.trust.tls import Tls
from tenantry_server.grpc_v2.arrivals import Arrivals
from tenantry_server.grpc_v2.asking import Application
from tenantry_server.grpc_v2.calls import Call, Serving, Single
from tenantry_server.grpc_v2.heads import CallHead, head_of
from tenantry_server.grpc_v2.http2.connection import Connection
from tenantry_server.grpc_v2.http2.header_blocks import HeaderBlocks
from tenantry_server.grpc_v2.service import STREAMED, rpcs
from tenantry_server.grpc_v2.streamed import Streamed

log = structlog.get_logger(__name__)

_LARGER = 1 << 16  # what a message has beside its tensors
_STREAMS = 64  # each may hold a part of a message for as long as it stays open
_BACKLOG = 1024
_CLOSE_S = 2.0  # for the other end to end the encryption too
_EVERY_S = 1.0  # what takes too long is looked for


class Port:
    """Listens for gRPC.

    Args:
        application: answers requests of V2.
        max_bytes: of one message's tensors; a larger message is refused before it is here.
        max_arriving_bytes: what messages that have not arrived whole may hold together.
        read_timeout_s: for a message to arrive, for the handshake of a connection, and for a client that
            does not read.
        shared: whether other servers of this machine listen on the same port.
    """

    def __init__(
        self,
        application: Application,
        *,
        max_bytes: int,
        max_arriving_bytes: int = 256 << 20,
        read_timeout_s: float = 30.0,
        shared: bool = False,
    ) -> None:
        self._application = application
        arrivals = Arrivals(max_bytes=max_arriving_bytes, max_streams=_STREAMS)
        self._serving = Serving(application, arrivals, rpcs(), max_bytes + _LARGER, read_timeout_s)
        self._timeout_s = read_timeout_s
        self._shared = shared
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._next: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """Of messages that have not arrived whole."""
        return self._serving.arrivals.held_bytes

    @property
    def connections(self) -> int:
        """That are open."""
        return len(self._connections)

    async def open(self, address: str, files: Files | None = None) -> int:
        """Listen and answer.

        Args:
            address: host and port; port 0: one that the system chooses.
            files: the certificate and its key, read again for a new connection when they have changed;
                None: there is no TLS.

        Returns:
            the port.

        Raises:
            OSError: the address can't be listened on.
        """
        host, _, number = address.rpartition(":")
        try:
            listening = addresses.bound(host.strip("[]"), int(number), shared=self._shared)
        except OSError as error:
            raise OSError(f"gRPC can't listen on {address}: {error}") from None
        secured: dict[str, Any] = {}
        if files is not None:
            secured = {"ssl": _context(files), "ssl_handshake_timeout": self._timeout_s}
            secured["ssl_shutdown_timeout"] = _CLOSE_S
        self._server = await asyncio.get_running_loop().create_server(
            self._connection, sock=listening, backlog=_BACKLOG, **secured
        )
        port: int = listening.getsockname()[1]
        self._check_later()
        log.info("serving gRPC", address=address, port=port)
        return port

    async def close(self, grace_s: float) -> None:
        """Accept nothing more; calls under way have so many seconds to end."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                while self._connections:  # noqa: ASYNC110 - their ends are callbacks of the loop
                    await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        if self._next is not None:
            self._next.cancel()
        self._application.close()

    def _connection(self) -> Connection:
        return Connection(HeaderBlocks(head_of), self._call, self._connections)

    def _call(self, connection: Connection, number: int, head: CallHead) -> Call:
        kind = Streamed if head.method == STREAMED else Single
        return kind(self._serving, connection, number, head)

    def _check_later(self) -> None:
        every_s = min(_EVERY_S, self._timeout_s / 4)
        self._next = asyncio.get_running_loop().call_later(every_s, self._check)

    def _check(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for connection in list(self._connections):
            connection.check(now_s, self._timeout_s)
        self._check_later()


def _context(files: Files) -> ssl.SSLContext:
    """Return a context that hands each new connection to one with the certificate of that moment."""
    tls = Tls(Files(files.cert, files.key))

    def current() -> ssl.SSLContext:
        context = tls.server()
        context.set_alpn_protocols(["h2"])
        return context

    def swap(connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = current()

    first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first.minimum_version = current().minimum_version
    first.set_alpn_protocols(["h2"])
    first.sni_callback = swap  # called without a name, too
    return first
