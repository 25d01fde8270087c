"""Requests at a steady rate over kept-alive connections, and a server that answers all alike at no cost.

The generator is cheap, as it shares the cores with what it measures: requests are bytes that were made
before, and of an answer only status and length are read. A request's time counts from when it was due.
"""

import asyncio
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import numpy as np

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"
_CONSTANT = b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 100\r\n\r\n" + b" " * 100


@dataclass
class Seen:
    """What became of some requests."""

    took_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def p99_ms(self) -> float:
        """Of all answers."""
        return float(np.percentile(self.took_s, 99)) * 1e3


class _Wire(asyncio.Protocol):
    """One connection, on which one request at a time is under way."""

    def __init__(self) -> None:
        self._came = b""
        self._answered: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._came += data
        end = self._came.find(_END)
        length = _LENGTH.search(self._came, 0, end) if end > 0 else None
        if length is None or len(self._came) < end + len(_END) + int(length[1]):
            return
        status, self._came = int(self._came[9:12]), b""
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(status)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Caller:
    """A client with so many connections to one port."""

    def __init__(self, port: int, connections: int) -> None:
        self._port = port
        self._count = connections
        self._wires: list[_Wire] = []
        self._free: asyncio.Queue[_Wire] = asyncio.Queue()

    async def open(self) -> None:
        """Connect."""
        loop = asyncio.get_running_loop()
        for _ in range(self._count):
            _, wire = await loop.create_connection(_Wire, "127.0.0.1", self._port)
            self._wires.append(wire)
            self._free.put_nowait(wire)

    def close(self) -> None:
        """Disconnect."""
        for wire in self._wires:
            wire.close()

    async def send(self, requests: Sequence[bytes], per_second: float, seconds: float) -> Seen:
        """Send each of them at its time, one after the other and again from the first."""
        seen, began_s = Seen(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_second * seconds)):
                due_s = began_s + number / per_second
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                group.create_task(self._one(requests[number % len(requests)], due_s, seen))
        return seen

    async def _one(self, request: bytes, due_s: float, seen: Seen) -> None:
        wire = await self._free.get()
        seen.statuses[await wire.ask(request)] += 1
        seen.took_s.append(time.perf_counter() - due_s)
        self._free.put_nowait(wire)


def post(path: str, body: bytes) -> bytes:
    """Make the bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Constant(asyncio.Protocol):
    """Answers each chunk alike: a client that waits for its answer sends one request in one."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - whatever it is
        self._transport.write(_CONSTANT)


async def _serve(told: Connection) -> None:
    server = await asyncio.get_running_loop().create_server(_Constant, "127.0.0.1", 0)
    told.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(told: Connection) -> None:
    asyncio.run(_serve(told))


@contextmanager
def constant() -> Iterator[tuple[int, int]]:
    """A process that refuses everything at once: its port and its process id."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_run, args=(theirs,), daemon=True)
    child.start()
    try:
        yield ours.recv(), int(child.pid or 0)
    finally:
        child.terminate()
        child.join()
