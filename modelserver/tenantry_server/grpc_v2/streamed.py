"""The stream of the protocol: requests as they arrive, each answered in its turn. Runs without tasks."""

import asyncio
from typing import Any

import structlog

from tenantry.errors import BodiesTooMany, BodyTimeout, InvalidRequest
from tenantry_server.grpc_v2.asking import Lost
from tenantry_server.grpc_v2.calls import BEGIN, INTERNAL, LARGE_BYTES, OK, Call
from tenantry_server.grpc_v2.service import Refused, Rpc
from tenantry_server.grpc_v2.statuses import Status
from tenantry_server.wire import headers

log = structlog.get_logger(__name__)

_TURNS = 16  # of one stream, before others have theirs
_MOST_UNSENT_BYTES = 64 << 10  # of a stream, before it is asked on
_STREAM_IDLE_S = 300.0


class Streamed(Call):
    """A stream of requests, answered in their order; one that fails ends nothing."""

    __slots__ = ("_about", "_counted", "_later", "_message")

    def begin(self) -> None:
        """Take part, if there is room."""
        self._about: dict[str, str] = {}
        self._later: asyncio.Handle | None = None
        super().begin()
        self._counted = not self._over and self._serving.arrivals.stream_opened()
        if not self._over and not self._counted:
            words = "too many streams are open; send single calls instead"
            self.refuse(Status.RESOURCE_EXHAUSTED, words, ((headers.REASON.lower(), BodiesTooMany.reason),))

    def arrived(self, data: bytes) -> None:
        """Take a piece of a message, or some messages."""
        self._since_s = asyncio.get_running_loop().time()
        if not self._over:
            self._keep(data)
            self._go_on()

    def check(self, now_s: float) -> None:
        """End a stream that says nothing for five minutes, and one whose message takes too long."""
        if self._over or self._asked is not None or self.unsent:
            return
        if self._arrived and now_s - self._since_s > self._serving.timeout_s:
            self._fail(BodyTimeout(self._serving.timeout_s), Status.DEADLINE_EXCEEDED)
        elif now_s - self._since_s > _STREAM_IDLE_S:
            self._finish()

    def _end(self) -> None:
        super()._end()
        if self._later is not None:
            self._later.cancel()
        if self._counted:
            self._counted = False
            self._serving.arrivals.stream_closed()

    def _go_on(self) -> None:
        for _ in range(_TURNS):
            if self._over or self._asked is not None or len(self.unsent) > _MOST_UNSENT_BYTES:
                return
            framed = self._next()
            if framed is None:
                self._wait()
                return
            self._one(framed)
        if self._later is None:
            self._later = asyncio.get_running_loop().call_soon(self._go_on_later)

    def _go_on_later(self) -> None:
        self._later = None
        with self._connection.sending.together():
            self._go_on()

    def _next(self) -> bytes | None:
        whole = self._whole_bytes(self._arrived)
        if whole is None or len(self._arrived) < whole:
            return None
        framed = bytes(self._arrived[:whole])
        del self._arrived[:whole]
        self._serving.arrivals.shrank(self, whole)
        return framed

    def _wait(self) -> None:
        """Wait for more, or end."""
        if self._over:
            return
        if not self.ended:
            self._connection.receiving.grant(self)
        elif self._arrived:
            self._invalid("the call ended before its last message was whole")
        else:
            self._finish()

    def _finish(self) -> None:
        self._end()
        begin = b"" if self._begun else BEGIN
        if self._connection.sending.answer(self, begin, b"", OK):
            self._connection.done(self)

    def _one(self, framed: bytes) -> None:
        self._about = {}
        rpc = self._serving.rpcs[self._head.method]
        if len(framed) > LARGE_BYTES:
            self._asked = asyncio.get_running_loop().create_task(self._ask_aside(rpc, framed))
            self._asked.add_done_callback(self._answered)
            return
        try:
            self._message, asked = self._ask(rpc, framed)
        except InvalidRequest as error:
            self._say(error_message=str(error))
            return
        except Exception:
            log.exception("a message of a stream failed in this server")
            self._say(error_message=INTERNAL[0])
            return
        self._note(self._message)
        if asked.done():
            self._tell(asked)
        else:
            self._asked = asked
            asked.add_done_callback(self._answered)

    def _note(self, asked: Any) -> None:
        self._about = {"model_name": asked.model_name, "id": asked.id}

    def _wrapped(self, rpc: Rpc, answer: Any) -> Any:
        return rpc.made(infer_response=answer)

    def _answered(self, asked: "asyncio.Future[Any]") -> None:
        self._asked = None
        self._since_s = asyncio.get_running_loop().time()
        if not self._over:
            self._tell(asked)
            self._go_on()

    def _tell(self, asked: "asyncio.Future[Any]") -> None:
        try:
            answer = asked.result()
            if isinstance(answer, bytes):
                self._written(answer, None)
                return
            answer = self._serving.rpcs[self._head.method].answer(self._message, answer)
        except InvalidRequest as error:
            self._say(error_message=str(error))
        except (Refused, Lost) as error:
            self._say(error_message=str(error), infer_response=self._about)
        except Exception:
            log.exception("an answer of a stream failed in this server")
            self._say(error_message=INTERNAL[0], infer_response=self._about)
        else:
            self._say(infer_response=answer)

    def _say(self, **fields: Any) -> None:
        self._written(self._serving.rpcs[self._head.method].made(**fields), None)
