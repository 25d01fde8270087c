"""The messages that have not arrived whole, and how much all of them hold together."""

from typing import Protocol


class Arriving(Protocol):
    """What waits for the rest of a message."""

    def give_up(self) -> None:
        """Wait no longer, as too many do."""


class Arrivals:
    """Counts what has arrived of messages. Where all hold too much, the oldest is given up.

    So a client that sends as fast as it can is soon done. Also counts the streams that are open.

    Args:
        max_bytes: of all together.
        max_streams: that are open at once.
    """

    def __init__(self, *, max_bytes: int, max_streams: int) -> None:
        self._max_bytes = max_bytes
        self._max_streams = max_streams
        self._calls: dict[Arriving, int] = {}  # the oldest first
        self._streams = 0
        self.held_bytes = 0

    def grew(self, call: Arriving, size_bytes: int) -> None:
        """Count bytes that a call keeps, until it is let go of; this may give up calls, this one too."""
        self._calls[call] = self._calls.get(call, 0) + size_bytes
        self.held_bytes += size_bytes
        while self.held_bytes > self._max_bytes and self._calls:
            oldest = next(iter(self._calls))
            self.let_go(oldest)
            oldest.give_up()

    def shrank(self, call: Arriving, size_bytes: int) -> None:
        """Count bytes no longer."""
        if call in self._calls:
            self._calls[call] -= size_bytes
            self.held_bytes -= size_bytes

    def let_go(self, call: Arriving) -> None:
        """Count nothing of a call any longer."""
        self.held_bytes -= self._calls.pop(call, 0)

    def stream_opened(self) -> bool:
        """Count one more stream; False: as many are open as may be."""
        if self._streams >= self._max_streams:
            return False
        self._streams += 1
        return True

    def stream_closed(self) -> None:
        """Count a stream no longer."""
        self._streams -= 1
