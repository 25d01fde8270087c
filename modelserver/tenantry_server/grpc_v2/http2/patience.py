"""How many frames of a client are borne that no call needs."""

from collections.abc import Callable

from tenantry_server.grpc_v2.http2.frames import Code, Fault

_MOST = 1000  # within the time below: far more than clients of gRPC send
_WITHIN_S = 1.0
_REWARD = 8  # an answered call has this many of them free: pings, windows


class Patience:
    """Counts pings, settings, resets and empty frames: each costs this end more than the other.

    Args:
        clock_s: seconds, never going back.
    """

    CANCELLED = 4
    """What a call costs that was begun and then given up."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._since_s = clock_s()
        self._count = 0

    def tried(self, count: int = 1) -> None:
        """Count frames.

        Raises:
            Fault: there are too many for the time.
        """
        self._count += count
        if self._count > _MOST:
            now_s = self._clock_s()
            if now_s - self._since_s < _WITHIN_S:
                raise Fault(Code.ENHANCE_YOUR_CALM, "too many frames that no call needs")
            self._count, self._since_s = 0, now_s

    def rewarded(self) -> None:
        """Count an answered call."""
        self._count = max(0, self._count - _REWARD)
