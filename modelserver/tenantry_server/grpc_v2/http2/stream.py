"""What a connection knows of one call; what the call means is for those that extend it."""

from abc import ABC, abstractmethod


class Stream(ABC):
    """One call, between its first frame and its last.

    Attributes:
        number: of its stream.
        ended: whether the client has sent all of it.
        credit_bytes: that the client may send.
        window_bytes: that may be sent to the client.
        unsent: of the answer, for want of a window.
        last: the headers that end the answer; None: more may come.
        moved_s: when some of the answer was sent last, or could not be.
    """

    __slots__ = ("credit_bytes", "ended", "last", "moved_s", "number", "unsent", "window_bytes")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False
        self.credit_bytes = 0
        self.window_bytes = 0
        self.unsent = bytearray()
        self.last: bytes | None = None
        self.moved_s = 0.0

    def is_unread(self, now_s: float, timeout_s: float) -> bool:
        """Whether the client has not wanted the answer for so long."""
        return bool(self.unsent) and now_s - self.moved_s > timeout_s

    @abstractmethod
    def begin(self) -> None:
        """Begin; the connection knows this call now."""

    @abstractmethod
    def arrived(self, data: bytes) -> None:
        """Take a piece of what the client sends; `ended` is set before the last one."""

    @abstractmethod
    def sent(self) -> None:
        """Go on: what was held for want of a window is sent."""

    @abstractmethod
    def cancel(self) -> None:
        """Stop: nobody waits for the answer."""

    @abstractmethod
    def check(self, now_s: float) -> None:
        """Give up what has taken too long."""
