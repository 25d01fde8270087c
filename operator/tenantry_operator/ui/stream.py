"""Server-sent events: each stream says when the page would show something else, and ends with its client.

A stream is a thread that sleeps. Their number is bounded, so is the life of each, and a stream asks again
whether its visitor may still look.
"""

import threading
import time
from collections.abc import Callable, Iterator

_TICK_S = 1.0
_HEARTBEAT_S = 10.0
_LIFE_S = 600.0  # a browser opens the next one by itself
RETRY_MS = 3000


class Streams:
    """Makes streams.

    Args:
        version: a text that is another one after every change.
        most: streams at once.
        tick_s: between two looks.
    """

    def __init__(self, version: Callable[[], str], *, most: int = 32, tick_s: float = _TICK_S) -> None:
        self._version = version
        self._free = threading.BoundedSemaphore(most)
        self._tick_s = tick_s
        self._closing = threading.Event()

    def open(self, seen: str, stays: Callable[[], bool]) -> Iterator[bytes] | None:
        """Begin a stream; None: there are too many.

        Args:
            seen: the version that the client shows.
            stays: whether the client is there and may still look; asked at every tick.
        """
        if not self._free.acquire(blocking=False):
            return None
        return _Released(self._events(seen, stays), self._free.release)

    def close(self) -> None:
        """End every stream within a tick."""
        self._closing.set()

    def _events(self, seen: str, stays: Callable[[], bool]) -> Iterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        ends_s = time.monotonic() + _LIFE_S
        said_s = time.monotonic()
        while not self._closing.is_set() and time.monotonic() < ends_s and stays():
            version = self._version()
            if version != seen:
                seen, said_s = version, time.monotonic()
                yield f"id: {version}\nevent: change\ndata: {version}\n\n".encode()
            elif time.monotonic() - said_s > _HEARTBEAT_S:
                said_s = time.monotonic()
                yield b": still here\n\n"
            self._closing.wait(self._tick_s)


class _Released(Iterator[bytes]):
    """An iterator that gives its place back once, however it ends: also where it never began."""

    def __init__(self, events: Iterator[bytes], release: Callable[[], None]) -> None:
        self._events = events
        self._release: Callable[[], None] | None = release

    def __next__(self) -> bytes:
        try:
            return next(self._events)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the place back."""
        release, self._release = self._release, None
        if release is not None:
            release()
