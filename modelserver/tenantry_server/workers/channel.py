"""Frames over a socket on the front's event loop, which never waits for the other end."""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Sequence

from tenantry_server.kernels.arrays import Buffer
from tenantry_server.workers.frames import HEAD, MOST_BYTES, Kind

_AT_ONCE_BYTES = 256 << 10


class Channel:
    """One end of a socket pair, used on an event loop.

    Args:
        given: non-blocking from now on.
        received: called with each frame.
        closed: called once, when the other end is gone or says what it must not.
        most_bytes: of a frame that is taken.

    Attributes:
        fault: what the other end said that it must not; empty: nothing.
    """

    def __init__(
        self,
        given: socket.socket,
        received: Callable[[Kind, Buffer], None],
        closed: Callable[[], None],
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        given.setblocking(False)
        self._socket = given
        self._received = received
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(given.fileno(), self._read)
        self._open = True
        self._unsent: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._writing = False
        self._head = bytearray()
        self._body = bytearray()
        self._filled = 0
        self._length = 0
        self._kind = Kind.FAILED
        self._most_bytes = most_bytes
        self.fault = ""

    def send(self, kind: Kind, buffers: Sequence[Buffer], fds: Sequence[int] = ()) -> None:
        """Send a frame, now or as the other end reads; nothing where it is gone.

        Args:
            fds: go with it, and stay open here; they must be open until they are sent.
        """
        if not self._open:
            return
        head = HEAD.pack(kind, sum(len(each) for each in buffers))
        waiting = bool(self._unsent)
        if fds:
            self._unsent.append((memoryview(head), fds))
            self._unsent.extend((memoryview(each), ()) for each in buffers if len(each))
        elif len(buffers) <= 2 and len(buffers[-1]) <= _AT_ONCE_BYTES:
            self._unsent.append((memoryview(b"".join((head, *buffers))), ()))
        else:
            self._unsent.extend((memoryview(each), ()) for each in (head, *buffers) if len(each))
        if not waiting:
            self._write()

    def close(self) -> None:
        """Close; `closed` is not called."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._socket.fileno())
            self._loop.remove_writer(self._socket.fileno())
            self._socket.close()
            self._unsent.clear()

    def _write(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                first, fds = unsent[0]
                if fds:
                    sent = socket.send_fds(self._socket, [first], list(fds))
                else:
                    sent = self._socket.send(first)
                if sent < len(first):
                    unsent[0] = first[sent:], ()
                    break
                unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._lost()
            return
        if unsent:
            self._loop.add_writer(self._socket.fileno(), self._write)
        elif self._writing:
            self._loop.remove_writer(self._socket.fileno())
        self._writing = bool(unsent)

    def _read(self) -> None:
        if len(self._head) == HEAD.size:
            self._read_body()
            return
        try:
            data = self._socket.recv(_AT_ONCE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        view = memoryview(data)
        while view and self._open:
            view = self._take(view)

    def _take(self, view: memoryview) -> memoryview:
        """Read one frame, or the part of it that is there; return what is left."""
        missing = HEAD.size - len(self._head)
        if missing:
            self._head += view[:missing]
            view = view[missing:]
            if len(self._head) < HEAD.size:
                return view
            kind, length = HEAD.unpack(self._head)
            if length > self._most_bytes or kind not in Kind.__members__.values():
                self.fault = f"it sent a frame of kind {kind} and {length:,} bytes"
                self._lost()
                return view
            self._kind = Kind(kind)
            if len(view) >= length:
                self._head.clear()
                self._received(self._kind, view[:length])
                return view[length:]
            self._length, self._filled = length, 0
            self._body = bytearray(min(length, _AT_ONCE_BYTES))
        part = view[: len(self._body) - self._filled]
        self._body[self._filled : self._filled + len(part)] = part
        self._filled += len(part)
        self._finish()
        return view[len(part) :]

    def _read_body(self) -> None:
        """Read more of a frame that is on its way, into its place."""
        ends = self._filled + _AT_ONCE_BYTES
        try:
            received = self._socket.recv_into(memoryview(self._body)[self._filled : ends])
        except BlockingIOError:
            return
        except OSError:
            received = 0
        if not received:
            self._lost()
            return
        self._filled += received
        self._finish()

    def _finish(self) -> None:
        if self._filled < len(self._body):
            return
        missing = self._length - self._filled
        if missing:  # room is made for what arrives, not for what is announced
            self._body += bytes(min(missing, self._filled))
        else:
            body, self._body, self._filled = self._body, bytearray(), 0
            self._head.clear()
            self._received(self._kind, memoryview(body))

    def _lost(self) -> None:
        if self._open:
            with contextlib.suppress(OSError):
                self.close()
            self._closed()
