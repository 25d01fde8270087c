"""The cost of requests: how busy this server is, and which users keep it busy."""

import heapq
import time
from collections.abc import Callable, Mapping, Sequence

from tenantry_server.accounts.accounts import Accounts

_WINDOW_S = 1.0
_WORTH_A_MENTION = 0.05  # of a core
_MENTIONED = 20
_WORTH_COUNTING = 0.01  # of the rows of a request: the others together may take no more of a core


class LoadMeter:
    """Adds up the cost of each user's requests, and starts again every second.

    Args:
        clock_s: seconds, never going back.
        cpu_s: returns the CPU seconds of this process, and of workers for it.

    Attributes:
        accounts: to which the models' own seconds are charged; they outlast the second.
    """

    def __init__(
        self,
        clock_s: Callable[[], float] = time.monotonic,
        cpu_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock_s = clock_s
        self._cpu_s = cpu_s
        self._began_s = clock_s()
        self._cpu_began_s = cpu_s()
        self._together: dict[str, float] = {}
        self._load = 0.0
        self._busiest: Mapping[str, float] = {}
        self.accounts = Accounts()

    def spent(self, user_id: str, model_s: float) -> None:
        """Count a request of this user, whose model took so many seconds of a core."""
        self.accounts.spent(user_id, model_s)

    def spent_together(self, users: Sequence[str], counts: Sequence[int], row_s: float) -> None:
        """Count rows in a request of many users.

        A user with less than a hundredth of the rows is left out of `busiest`: however many such requests
        follow one another, the user takes less than a hundredth of a core in them, a fifth of what is
        mentioned. The accounts leave out nobody.

        Args:
            counts: the rows of each user.
            row_s: the seconds of a core for one row.
        """
        self.accounts.together(users, counts, row_s)
        spent, least = self._together, sum(counts) * _WORTH_COUNTING
        if max(counts, default=0) < least:
            return
        for user_id, count in zip(users, counts, strict=True):
            if count >= least:
                spent[user_id] = spent.get(user_id, 0.0) + count * row_s

    @property
    def load(self) -> float:
        """Busy share of this server's core, 0 to 1, over the last second or longer."""
        self._measure()
        return self._load

    @property
    def busiest(self) -> Mapping[str, float]:
        """User id -> share of a core, for the few users that take 5 % or more."""
        self._measure()
        return self._busiest

    def _measure(self) -> None:
        now_s = self._clock_s()
        window_s = now_s - self._began_s
        if window_s < _WINDOW_S:
            return
        cpu_s = self._cpu_s()
        self._load = round(min(1.0, (cpu_s - self._cpu_began_s) / window_s), 3)
        busy_s = self.accounts.busy_s()
        for user_id, spent_s in self._together.items():
            busy_s[user_id] = busy_s.get(user_id, 0.0) + spent_s
        shares = ((spent_s / window_s, user_id) for user_id, spent_s in busy_s.items())
        top = heapq.nlargest(_MENTIONED, (each for each in shares if each[0] >= _WORTH_A_MENTION))
        self._busiest = {user_id: round(share, 3) for share, user_id in top}
        self._together = {}
        self._began_s, self._cpu_began_s = now_s, cpu_s
