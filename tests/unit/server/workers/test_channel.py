"""Frames between a front and its workers: whole, in order, with their descriptors, and bounded."""

import asyncio
import os
import socket
import tracemalloc
from collections.abc import AsyncIterator

import pytest

from tenantry_server.kernels.arrays import Buffer
from tenantry_server.workers.channel import Channel
from tenantry_server.workers.frames import (
    HEAD,
    MOST_BYTES,
    BlockingChannel,
    ChannelClosed,
    Kind,
    memory_file,
    read_all,
)


class End:
    """The front's end of a pair, and what it received."""

    def __init__(self) -> None:
        here, self.there = socket.socketpair()
        self.received: list[tuple[Kind, bytes]] = []
        self.closed = asyncio.Event()
        self.channel = Channel(here, self._receive, self.closed.set)

    def _receive(self, kind: Kind, body: Buffer) -> None:
        self.received.append((kind, bytes(body)))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.received) < count:  # noqa: ASYNC110 - frames arrive on this loop
                await asyncio.sleep(0.001)


@pytest.fixture
async def end() -> AsyncIterator[End]:
    made = End()
    yield made
    made.channel.close()
    made.there.close()


async def test_frames_arrive_whole_however_they_are_cut(end: End) -> None:
    bodies = [b"", b"a", b"x" * 100_000, b"yz"]
    stream = b"".join(HEAD.pack(Kind.ANSWER, len(body)) + body for body in bodies)
    for size in (1, 7, 1000, len(stream)):
        end.received.clear()
        cut = [stream[at : at + size] for at in range(0, len(stream), size)] if size > 1 else []
        for part in cut or [stream[:20], stream[20:]]:
            await asyncio.to_thread(end.there.sendall, part)
        await end.until(len(bodies))
        assert [body for _, body in end.received] == bodies


async def test_a_frame_longer_than_any_answer_closes(end: End) -> None:
    end.there.sendall(HEAD.pack(Kind.ANSWER, MOST_BYTES + 1))
    async with asyncio.timeout(30):
        await end.closed.wait()
    assert end.channel.fault == "it sent a frame of kind 6 and 1,073,741,825 bytes"


async def test_what_is_only_announced_takes_no_memory(end: End) -> None:
    tracemalloc.start()
    try:
        end.there.sendall(HEAD.pack(Kind.ANSWER, MOST_BYTES) + b"x")
        async with asyncio.timeout(30):
            while not end.channel._filled:  # noqa: ASYNC110 - it is read on this loop
                await asyncio.sleep(0.001)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


async def test_a_kind_that_nobody_sends_closes(end: End) -> None:
    end.there.sendall(HEAD.pack(99, 0))
    async with asyncio.timeout(30):
        await end.closed.wait()


async def test_more_than_a_socket_holds_is_sent_as_it_is_read(end: End) -> None:
    body = os.urandom(3 << 20)
    end.channel.send(Kind.ROWS, [b"head", body])
    kind, seen, _ = await asyncio.to_thread(BlockingChannel(end.there).receive)
    assert (kind, bytes(seen)) == (Kind.ROWS, b"head" + body)


async def test_each_load_has_its_own_descriptors(end: End) -> None:
    """The end of one frame and the head of the next are read at once, with the descriptors of both."""
    files = [memory_file(f"{number}", [str(number).encode()]) for number in range(6)]
    for number in range(3):
        end.channel.send(Kind.LOAD, [b"body"], files[2 * number : 2 * number + 2])
        end.channel.send(Kind.DROP, [b"12345678"])
    other = BlockingChannel(end.there)
    loads = []
    for _ in range(6):
        kind, _, fds = other.receive()
        assert len(fds) == (2 if kind is Kind.LOAD else 0)
        loads += [read_all(fd) for fd in fds]
        for fd in fds:
            os.close(fd)
    assert loads == [b"0", b"1", b"2", b"3", b"4", b"5"]
    for fd in files:
        os.close(fd)


async def test_the_other_end_is_told_when_this_one_goes(end: End) -> None:
    end.channel.close()
    with pytest.raises(ChannelClosed):
        BlockingChannel(end.there).receive()
    end.channel.send(Kind.DROP, [b"late"])  # goes nowhere


async def test_an_end_that_goes_is_noticed(end: End) -> None:
    end.there.close()
    async with asyncio.timeout(30):
        await end.closed.wait()
