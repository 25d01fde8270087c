"""A listening socket for TLS, and for plain HTTP as long as that is taken as well.

The first byte of a connection decides: 0x16 begins a handshake (RFC 8446, section 5.1), and no request of
HTTP. It is read and left in the socket. So each connection gets the certificate of that moment, and
the protocol behind it, the fast path included, sees the same bytes either way.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import orjson
import structlog
from aiohttp import web

from tenantry.processes.logs import OnceAMinute
from tenantry.trust.tls import Tls
from tenantry_server.wire.errors import responses as error_responses

log = structlog.get_logger(__name__)

BACKLOG = 1024
"""Connections of clients and peers that wait while this process is held up."""

_HANDSHAKE = b"\x16"
_AT_ONCE = 64  # connections that are accepted in one turn of the loop
_PAUSE_S = 1.0  # where the system has no descriptor left
_LINGER_S = 2.0  # for a client to read why it was refused
_CLOSE_S = 2.0  # for the other end to end the encryption too


class SecureSite(web.BaseSite):
    """Accepts connections for an application.

    Args:
        runner: of the application, set up.
        listening: a socket that has its address.
        tls: the certificate, and whether plain HTTP is taken.
        head_s: for the first byte to arrive, and then for the handshake.
    """

    def __init__(self, runner: web.AppRunner, listening: socket.socket, tls: Tls, *, head_s: float) -> None:
        super().__init__(runner, backlog=BACKLOG)
        assert runner.server is not None  # noqa: S101 - for the type checker: the base looked
        self._protocol: Callable[[], asyncio.BaseProtocol] = runner.server
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._tls = tls
        self._head_s = head_s
        self._greeted: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._failures = OnceAMinute(log, "handshakes of TLS that failed")

    @property
    def name(self) -> str:
        """Where."""
        host, port = self._listening.getsockname()[:2]
        return f"https://{host}:{port}"

    async def start(self) -> None:
        """Accept connections from now on."""
        await super().start()
        self._listening.setblocking(False)
        self._listening.listen(self._backlog)
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def stop(self) -> None:
        """Accept no more; connections that are open stay."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._listening.close()
        for task in self._greeted:
            task.cancel()
        if self._greeted:
            await asyncio.wait(self._greeted)
        await super().stop()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                accepted, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                log.exception("can't accept connections", again_in_s=_PAUSE_S)
                self._loop.remove_reader(self._listening.fileno())
                self._pause = self._loop.call_later(_PAUSE_S, self._go_on)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._greet(accepted))
            self._greeted.add(task)
            task.add_done_callback(self._greeted.discard)

    def _go_on(self) -> None:
        self._loop.add_reader(self._listening.fileno(), self._accept)

    async def _greet(self, accepted: socket.socket) -> None:
        """Let a connection have its protocol, by its first byte."""
        try:
            async with asyncio.timeout(self._head_s):
                first = await _first_byte(self._loop, accepted)
        except (OSError, TimeoutError):
            accepted.close()
            return
        except asyncio.CancelledError:
            accepted.close()
            raise
        if not first:
            accepted.close()
        elif first == _HANDSHAKE:
            await self._shake_hands(accepted)
        else:
            taken = _Refusal if self._tls.required else self._protocol
            await self._loop.connect_accepted_socket(taken, accepted)

    async def _shake_hands(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=self._tls.server(),
                ssl_handshake_timeout=self._head_s,
                ssl_shutdown_timeout=_CLOSE_S,
            )
        except (OSError, TimeoutError) as error:  # of ssl too
            self._failures.warning(latest=getattr(error, "reason", None) or type(error).__name__)


class _Refusal(asyncio.Protocol):
    """Says that this port takes TLS alone, whatever it was asked."""

    def __init__(self) -> None:
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer, and wait until the client has read that and closes the connection."""
        answering = cast("asyncio.Transport", transport)  # uvloop's has another base class
        answering.write(_ANSWER)
        answering.write_eof()
        self._end = asyncio.get_running_loop().call_later(_LINGER_S, answering.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own name
        """Forget the deadline."""
        if self._end is not None:
            self._end.cancel()


async def _first_byte(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> bytes:
    """Wait for the first byte, and leave it in the socket; empty: the other end closed before it came."""
    try:
        return accepted.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        pass
    ready = loop.create_future()
    loop.add_reader(accepted.fileno(), _resolve, ready)
    try:
        await ready
    finally:
        loop.remove_reader(accepted.fileno())
    return accepted.recv(1, socket.MSG_PEEK)


def _resolve(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


_BODY = orjson.dumps(
    error_responses.native("TlsRequired", "this port takes TLS alone; ask with https:// in the address")
)
_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nTenantry-Reason: TlsRequired\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)
