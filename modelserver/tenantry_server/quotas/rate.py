"""The rate of one user's requests, by the Generic Cell Rate Algorithm.

It allows what a token bucket allows, and its whole state is one number: when the next request would come if
all came at the exact rate (ITU-T Recommendation I.371, annex A, "virtual scheduling").
"""

from collections.abc import Callable
from dataclasses import dataclass

_ROUNDING_S = 1e-9
_SWEPT_AT = 10_000  # users, whose rates are looked through for those that asked nothing for a while


@dataclass(slots=True)
class Rate:
    """Counts requests against a rate; used by one thread.

    Attributes:
        due_s: the theoretical arrival time of the next request, in seconds.

    Example:
        >>> rate = Rate()
        >>> [rate.take(2.0, 2.0, now_s=10.0) for _ in range(3)]  # two a second, two at once
        [0.0, 0.0, 0.5]
    """

    due_s: float = 0.0

    def take(self, per_second: float, burst: float, *, now_s: float) -> float:
        """Count a request if it may be answered now.

        Args:
            per_second: requests in the long run.
            burst: requests at once after a pause, at least 1.
            now_s: seconds, never going back.

        Returns:
            0.0, or the seconds until one may be answered; then this one was not counted.
        """
        wait_s = self.wait_s(per_second, burst, now_s=now_s)
        if wait_s == 0.0:
            self.due_s = max(self.due_s, now_s) + 1.0 / per_second
        return wait_s

    def wait_s(self, per_second: float, burst: float, *, now_s: float) -> float:
        """Return the seconds until a request may be answered; 0.0: now."""
        ahead_s = self.due_s - now_s - (burst - 1.0) / per_second
        return ahead_s if ahead_s > _ROUNDING_S else 0.0


class Rates:
    """The rates of users; one that is not in use any more is forgotten. Used by one thread.

    Args:
        clock_s: seconds, never going back.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._rates: dict[str, Rate] = {}

    def get(self, user_id: str) -> Rate | None:
        """Return a user's rate; None: nothing was counted lately."""
        return self._rates.get(user_id)

    def of(self, user_id: str) -> Rate:
        """Return a user's rate, to count requests."""
        rate = self._rates.get(user_id)
        if rate is None:
            if len(self._rates) >= _SWEPT_AT and len(self._rates) % _SWEPT_AT == 0:
                now_s = self._clock_s()
                self._rates = {user: each for user, each in self._rates.items() if each.due_s > now_s}
            rate = self._rates[user_id] = Rate()
        return rate
