"""Asks this server's own application: requests are given to it as if they had arrived, without a socket."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tenantry_server.wire.log import access_log

_MAX_HEAD_BYTES = 1 << 16
_IDLE = 64  # connections kept; one more is made where all of them are in use
_LENGTH = b"\r\ncontent-length:"


class Lost(Exception):
    """The application closed a connection before it had answered."""


class HttpAnswer(NamedTuple):
    """One answer.

    Attributes:
        status: of HTTP.
        headers: by their names in lower case.
        body: all of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Application:
    """Sends requests to an application, each over a connection that no other request uses meanwhile.

    Args:
        protocol: makes the application's end of a connection, as `aiohttp.web.Server` does.
    """

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol
        self._idle: deque[_Connection] = deque()  # the one that has rested longest first

    def ask(self, head: bytes, body: bytes) -> "asyncio.Future[HttpAnswer]":
        """Send a request; what the fast path answers is answered when this returns.

        Args:
            head: the request line and every header, an empty line at the end.

        Returns:
            what will be the answer; Lost: there will be none. Cancelling it tells the application that
            its client has left.
        """
        connection = self._free()
        answer = connection.ask(head + body)
        if answer.done():
            self._rest(connection)
        else:
            answer.add_done_callback(lambda _: self._rest(connection))
        return answer

    def _rest(self, connection: "_Connection") -> None:
        if connection.reusable and len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:  # a caller that left: the application sees its connection end, and stops working
            connection.close()

    def close(self) -> None:
        """End the connections that are not in use."""
        while self._idle:
            self._idle.pop().close()

    def _free(self) -> "_Connection":
        """Return a connection that reads at once: so the fast path can answer there.

        The application reads again some turns of the event loop after it has answered.
        """
        while self._idle and not self._idle[0].reusable:
            self._idle.popleft().close()
        if self._idle and self._idle[0].waits:
            return self._idle.popleft()
        return _Connection(self._protocol())


class _Connection(asyncio.Transport):
    """The application's end of a connection, without a socket: it reads what is asked, and writes here.

    One request at a time; its answer has a Content-Length. The fast path answers before `ask` returns.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._received = bytearray()
        self._closed = False
        self._keeps = True
        protocol.connection_made(self)

    @property
    def waits(self) -> bool:
        return getattr(self._protocol, "waits", True)

    @property
    def reusable(self) -> bool:
        return self._keeps and not self._closed and self._answer is None

    def ask(self, request: bytes) -> "asyncio.Future[HttpAnswer]":
        answer: asyncio.Future[HttpAnswer] = self._loop.create_future()
        self._answer = answer
        self._protocol.data_received(request)
        return answer

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            if len(self._received) > _MAX_HEAD_BYTES:
                self._end(Lost("its headers are too long"))
            return
        at = self._received[: end + 2].lower().find(_LENGTH)
        if at < 0:
            self._end(Lost("the answer has no Content-Length"))
            return
        begin = at + len(_LENGTH)
        whole = end + 4 + int(self._received[begin : self._received.index(b"\r\n", begin)])
        if len(self._received) >= whole:
            head, body = bytes(self._received[:end]), bytes(self._received[end + 4 : whole])
            del self._received[:whole]
            self._end(_read(head, body))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self._end(Lost("the connection was closed"))

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return "grpc" if name == access_log.PROTOCOL else default

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing more comes: a request is given whole."""

    def resume_reading(self) -> None:
        """As above."""

    def is_reading(self) -> bool:
        return not self._closed

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def _end(self, result: HttpAnswer | Lost) -> None:
        answer, self._answer = self._answer, None
        if isinstance(result, Lost) or result.headers.get("connection", "").lower() == "close":
            self._keeps = False
        if answer is None or answer.done():
            return
        if isinstance(result, Lost):
            answer.set_exception(result)
        else:
            answer.set_result(result)


def _read(head: bytes, body: bytes) -> HttpAnswer:
    first, *lines = head.decode("utf-8", "replace").split("\r\n")
    parts = (line.partition(":") for line in lines)
    return HttpAnswer(int(first[9:12]), {name.lower(): value.strip() for name, _, value in parts}, body)
