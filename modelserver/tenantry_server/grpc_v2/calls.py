"""Calls on their way: messages as they arrive, a request to the application for each, and its answer.

Runs without tasks: what the fast path answers has left before the next frame is read.
"""

import asyncio
from abc import abstractmethod
from typing import Any, NamedTuple

import structlog

from tenantry import TenantryError
from tenantry.errors import BodiesTooMany, BodyTimeout, InvalidRequest
from tenantry_server.grpc_v2 import compression
from tenantry_server.grpc_v2.arrivals import Arrivals
from tenantry_server.grpc_v2.asking import Application, HttpAnswer, Lost
from tenantry_server.grpc_v2.compression import PREFIX_BYTES
from tenantry_server.grpc_v2.heads import CallHead
from tenantry_server.grpc_v2.http2.connection import Connection
from tenantry_server.grpc_v2.http2.frames import literal
from tenantry_server.grpc_v2.http2.stream import Stream
from tenantry_server.grpc_v2.service import Refused, Request, Rpc
from tenantry_server.grpc_v2.statuses import Status, trailers
from tenantry_server.wire import headers

log = structlog.get_logger(__name__)

BEGIN = b"\x88" + literal("content-type", "application/grpc")  # 0x88: status 200
BEGIN += literal("grpc-accept-encoding", "identity,deflate,gzip")
_REFUSED = b"\x88" + literal("content-type", "application/grpc")
_NO_GRPC = literal(":status", "415")
OK = trailers(Status.OK)
LARGE_BYTES = 256 << 10
"""Of a message: converting its values takes 3 ms, and their answer as much."""


class Serving(NamedTuple):
    """What the calls of a port share.

    Attributes:
        max_bytes: of one message.
        timeout_s: for a message to arrive.
    """

    application: Application
    arrivals: Arrivals
    rpcs: dict[str, Rpc]
    max_bytes: int
    timeout_s: float


class Call(Stream):
    """One call of the service."""

    __slots__ = ("_arrived", "_asked", "_begun", "_connection", "_head", "_over", "_serving", "_since_s")

    def __init__(self, serving: Serving, connection: Connection, number: int, head: CallHead) -> None:
        super().__init__(number)
        self._serving = serving
        self._connection = connection
        self._head = head
        self._arrived = bytearray()
        self._asked: asyncio.Future[Any] | None = None
        self._begun = False  # the answer
        self._over = False
        self._since_s = asyncio.get_running_loop().time()

    def begin(self) -> None:
        """Refuse what is not a call of this service."""
        if not self._head.is_grpc:
            self._over = self._connection.sending.answer(self, b"", b"", _NO_GRPC)
            self._connection.done(self)
        elif self._head.method not in self._serving.rpcs:
            self.refuse(Status.UNIMPLEMENTED, "this server does not have such a method")

    def sent(self) -> None:
        """Go on: what was held for want of a window is sent."""
        if self.last is not None:
            self._connection.done(self)
        elif not self._over:
            self._go_on()

    def cancel(self) -> None:
        """Stop: nobody waits for the answer."""
        self._end()
        if self._asked is not None:
            self._asked.cancel()

    def give_up(self) -> None:
        """Wait no longer for the rest of a message, as too many arrive."""
        self._fail(BodiesTooMany(), Status.RESOURCE_EXHAUSTED)

    def refuse(self, code: Status, words: str, said: tuple[tuple[str, str], ...] = ()) -> None:
        """End the call with a status."""
        if self._over:
            return
        self._end()
        last = trailers(code, words, said)
        if not self._begun:
            last = _REFUSED + last
        if self._connection.sending.answer(self, b"", b"", last):
            self._connection.done(self)

    @abstractmethod
    def _go_on(self) -> None:
        """Do what can be done now."""

    def _is_over(self) -> bool:
        return self._over

    def _end(self) -> None:
        """Take nothing more."""
        self._over = True
        self._serving.arrivals.let_go(self)
        self._arrived = bytearray()

    def _fail(self, error: TenantryError, code: Status) -> None:
        self.refuse(code, str(error), ((headers.REASON.lower(), error.reason),))

    def _invalid(self, words: str) -> None:
        self._fail(InvalidRequest(words), Status.INVALID_ARGUMENT)

    def _keep(self, data: bytes) -> None:
        """Keep a piece until its message is whole."""
        self._arrived += data
        if data:
            self._serving.arrivals.grew(self, len(data))

    def _whole_bytes(self, arrived: bytes | bytearray) -> int | None:
        """Return the length of the message that has begun, with its prefix; None: it is not known.

        A message that is too large ends the call.
        """
        if len(arrived) < PREFIX_BYTES:
            return None
        size = int.from_bytes(arrived[1:PREFIX_BYTES], "big")
        if size > self._serving.max_bytes:
            most = self._serving.max_bytes
            self.refuse(Status.RESOURCE_EXHAUSTED, f"a message has {size} bytes, and may have {most}")
            return None
        return PREFIX_BYTES + size

    def _ask(self, rpc: Rpc, framed: bytes) -> "tuple[Any, asyncio.Future[HttpAnswer]]":
        """Give the application the request that a message, with its prefix, stands for.

        Returns:
            the message, and what will be its answer.

        Raises:
            InvalidRequest: it is not a message, or not a request.
        """
        asked, request = self._read(rpc, framed)
        return asked, self._sent(request)

    async def _ask_aside(self, rpc: Rpc, framed: bytes) -> bytes:
        """Do the same for a large message, whose values are converted in a thread.

        Returns:
            the answer, as a message that is written already.

        Raises:
            InvalidRequest: as `_ask`.
            Refused, Lost: the application refused the request, or gave no answer.
        """
        asked, request = await asyncio.to_thread(self._read, rpc, framed)
        self._note(asked)
        answer = await self._sent(request)
        return await asyncio.to_thread(
            lambda: self._wrapped(rpc, rpc.answer(asked, answer)).SerializeToString()
        )

    def _read(self, rpc: Rpc, framed: bytes) -> tuple[Any, Request]:
        asked = rpc.parsed(
            framed[PREFIX_BYTES:]
            if framed[0] == 0
            else compression.undone(framed, self._head.encoding, self._serving.max_bytes)
        )
        return asked, rpc.ask(asked)

    def _sent(self, request: Request) -> "asyncio.Future[HttpAnswer]":
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Length: {len(request.body)}\r\n{self._head.lines}{request.lines}\r\n"
        )
        return self._serving.application.ask(head.encode(), request.body)

    def _note(self, asked: Any) -> None:
        """Keep what the answer to a message needs of it."""

    def _wrapped(self, _rpc: Rpc, answer: Any) -> Any:
        """Return what is sent for an answer."""
        return answer

    def _written(self, message: Any, last: bytes | None) -> bool:
        """Send a message, and with `last` the end of the answer; return whether it has left."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        begin, self._begun = b"" if self._begun else BEGIN, True
        framed = b"\0" + len(data).to_bytes(4, "big") + data
        return self._connection.sending.answer(self, begin, framed, last)


class Single(Call):
    """A call of one message and one answer."""

    __slots__ = ("_message",)

    def arrived(self, data: bytes) -> None:
        """Take a piece; ask once all of it is here."""
        if self._over or self._asked is not None:
            return
        if self.ended and not self._arrived:  # nearly always: it came in one piece
            self._whole(data)
            return
        self._keep(data)
        whole = self._whole_bytes(self._arrived)
        if self._is_over():
            return
        if self.ended:
            framed = bytes(self._arrived)
            self._arrived = bytearray()
            self._serving.arrivals.let_go(self)
            self._whole(framed)
        elif whole is not None and len(self._arrived) > whole:
            self._invalid("the call has more than one message")
        else:
            self._connection.receiving.grant(self)

    def check(self, now_s: float) -> None:
        """Give up a message that takes too long."""
        timeout_s = self._serving.timeout_s
        if not self._over and self._asked is None and now_s - self._since_s > timeout_s:
            self._fail(BodyTimeout(timeout_s), Status.DEADLINE_EXCEEDED)

    def _go_on(self) -> None:
        """Nothing is left to do: there is one answer."""

    def _whole(self, framed: bytes) -> None:
        whole = self._whole_bytes(framed)
        if self._over:
            return
        if whole is None:
            self._invalid("the call ended before it had a message")
        elif whole != len(framed):
            self._invalid("the call has more, or less, than one message")
        else:
            self._try(framed)

    def _try(self, framed: bytes) -> None:
        rpc = self._serving.rpcs[self._head.method]
        if len(framed) > LARGE_BYTES:
            self._asked = asyncio.get_running_loop().create_task(self._ask_aside(rpc, framed))
            self._asked.add_done_callback(self._answered)
            return
        try:
            self._message, asked = self._ask(rpc, framed)
        except InvalidRequest as error:
            self._fail(error, Status.INVALID_ARGUMENT)
            return
        except Exception:
            log.exception("a call failed in this server", method=self._head.method)
            self.refuse(Status.INTERNAL, *INTERNAL)
            return
        self._asked = asked
        if asked.done():
            self._answered(asked)
        else:
            asked.add_done_callback(self._answered)

    def _answered(self, asked: "asyncio.Future[Any]") -> None:
        if self._over:
            return
        try:
            answer = asked.result()
            if not isinstance(answer, bytes):
                answer = self._serving.rpcs[self._head.method].answer(self._message, answer)
            left = self._written(answer, OK)
        except InvalidRequest as error:
            self._fail(error, Status.INVALID_ARGUMENT)
        except (Refused, Lost) as error:
            self.refuse(*_refusal(error))
        except Exception:
            log.exception("an answer failed in this server", method=self._head.method)
            self.refuse(Status.INTERNAL, *INTERNAL)
        else:
            self._over = True
            if left:
                self._connection.done(self)


INTERNAL = ("this server failed; its log has more", ((headers.REASON.lower(), "InternalError"),))


def _refusal(error: Exception) -> tuple[Status, str, tuple[tuple[str, str], ...]]:
    if isinstance(error, Refused):
        return error.code, str(error), error.said
    return Status.UNAVAILABLE, "this server is stopping; ask another one", ()
