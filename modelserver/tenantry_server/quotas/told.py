"""What other servers said of users: that nothing is left, and for how long."""

from collections.abc import Callable

_SWEPT_AT = 10_000  # users, who are looked through for those whose time is over; then at twice the rest
_LONGEST_S = 60.0  # that another server is believed


class Told:
    """Refusals of other servers, by user; used by one thread.

    Args:
        clock_s: seconds, never going back.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._until_s: dict[str, float] = {}
        self._swept_at = _SWEPT_AT

    def put(self, user_id: str, wait_s: float) -> None:
        """Take note that a server has nothing left for this user for so many seconds."""
        now_s = self._clock_s()
        if len(self._until_s) >= self._swept_at:
            self._until_s = {user: until_s for user, until_s in self._until_s.items() if until_s > now_s}
            self._swept_at = max(_SWEPT_AT, 2 * len(self._until_s))
        self._until_s[user_id] = now_s + min(wait_s, _LONGEST_S)

    def left_s(self, user_id: str) -> float:
        """Return for how many seconds that holds; 0.0: it does not."""
        until_s = self._until_s.get(user_id)
        if until_s is None:
            return 0.0
        left_s = until_s - self._clock_s()
        if left_s > 0:
            return left_s
        del self._until_s[user_id]
        return 0.0
