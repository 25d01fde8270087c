"""Doors before an S3 server, one for each of its readers: they count what is fetched, and can be shut.

Each door is a TCP proxy for HTTP without request bodies, as a reader's are, in one thread for all.
"""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")


class Door:
    """What one reader fetches.

    Attributes:
        url: for the reader.
        gets: path -> how many GETs passed.
        at_once: the most GETs that were waited for at the same moment.
        at_once_of_one: the most of the same path.
    """

    def __init__(self, upstream_url: str) -> None:
        upstream = urlsplit(upstream_url)
        self._upstream = (str(upstream.hostname), int(upstream.port or 80))
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.Task[None]] = set()
        self._under_way: list[tuple[str, asyncio.StreamReader]] = []
        self.forget()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def forget(self) -> None:
        """Count from nothing again."""
        self.gets: Counter[str] = Counter()
        self.at_once = self.at_once_of_one = 0

    async def listen(self) -> None:
        """Let everything pass; the address is the same as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Refuse connections and end those that are open, as a dead server's machine does."""
        if self._server is not None:
            self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            from_s3, to_s3 = await asyncio.open_connection(*self._upstream)
            try:
                while True:
                    await self._one(reader, writer, from_s3, to_s3)
            finally:
                to_s3.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # either side has closed it, or the door is shut
        finally:
            writer.transport.abort()  # a reader that was killed takes nothing more
            self._open.discard(task)

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        from_s3: asyncio.StreamReader,
        to_s3: asyncio.StreamWriter,
    ) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        verb, path, _ = head.decode("latin-1").split(" ", 2)
        path = path.partition("?")[0]
        if verb == "GET":
            self.gets[path] += 1
            self._under_way.append((path, reader))
            waiting = Counter(asked for asked, by in self._under_way if not by.at_eof())
            self.at_once = max(self.at_once, waiting.total())
            self.at_once_of_one = max(self.at_once_of_one, waiting[path])
        try:
            to_s3.write(head)
            answer = await from_s3.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            body = await from_s3.readexactly(int(length)) if length and verb != "HEAD" else b""
        finally:
            if verb == "GET":
                self._under_way.remove((path, reader))
        writer.write(answer + body)
        await writer.drain()


class Doors:
    """As many as are asked for."""

    def __init__(self, upstream_url: str) -> None:
        self._upstream_url = upstream_url
        self._loop = asyncio.new_event_loop()
        self._doors: list[Door] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="doors", daemon=True)
        self._thread.start()

    def make(self) -> Door:
        """One more, open."""
        door = Door(self._upstream_url)
        self._run(door.listen())
        self._doors.append(door)
        return door

    @contextmanager
    def shut(self) -> Iterator[None]:
        """No S3 for anybody, for the length of the block."""
        for door in self._doors:
            self._run(door.shut())
        try:
            yield
        finally:
            for door in self._doors:
                self._run(door.listen())

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(TimeoutError):
            self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for door in self._doors:
            await door.shut()
        just_connected = asyncio.all_tasks() - {asyncio.current_task()}
        for task in just_connected:
            task.cancel()
        await asyncio.gather(*just_connected, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets close in the loop's next turn

    def _run(self, what: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)


@contextmanager
def running(upstream_url: str) -> Iterator[Doors]:
    """Doors that are gone with the block."""
    doors = Doors(upstream_url)
    try:
        yield doors
    finally:
        doors.close()
