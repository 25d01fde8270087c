"""Which users are asked for so often that one server is not enough: pure, from what servers measured."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from tenantry.registry.rows import Server

_SHARE = 0.3  # of a core, for one user on one server: above that, other users wait for it
_MOST = 8
_CHECK_EVERY_S = 2.0  # servers report once a second, so that two checks see two measurements
_CHECKS = 2  # in a row, before anything is done about it
_DOWN_AFTER_S = 60.0


class Spreading:
    """Decides on how many servers each of the busy users is; up soon, down late.

    Args:
        spread: user id -> servers, as it is written now.
    """

    def __init__(self, spread: Mapping[str, int]) -> None:
        self._spread = {user_id: count for user_id, count in spread.items() if count > 1}
        self._rising: dict[str, list[int]] = {}  # what the last checks wanted, each more than there is
        self._falling: dict[str, tuple[float, int]] = {}  # since when, and the most wanted since
        self._due_s = float("-inf")

    def __len__(self) -> int:
        return len(self._spread)

    def observe(self, servers: Sequence[Server], now_s: float) -> dict[str, int]:
        """Return what to change, user id -> servers, 1 for the usual number; call `written` afterwards.

        Args:
            servers: the live ones.
        """
        if now_s < self._due_s or not servers:
            return {}
        self._due_s = now_s + _CHECK_EVERY_S
        loads = _added(server.report.busiest for server in servers)
        most = min(_MOST, len(servers))
        changes = {}
        for user_id in sorted(loads.keys() | self._spread.keys()):
            # Rounded: three times 0.3 is a little more than 0.9.
            wanted = max(1, min(most, math.ceil(round(loads.get(user_id, 0.0) / _SHARE, 6))))
            count = self._considered(user_id, wanted, now_s)
            if count != self._spread.get(user_id, 1):
                changes[user_id] = count
        self._rising = {user: wanted for user, wanted in self._rising.items() if user in loads}
        return changes

    def written(self, changes: Mapping[str, int]) -> None:
        """These changes are in force."""
        for user_id, count in changes.items():
            self._falling.pop(user_id, None)
            self._rising.pop(user_id, None)
            self._spread[user_id] = count
            if count <= 1:
                del self._spread[user_id]

    def _considered(self, user_id: str, wanted: int, now_s: float) -> int:
        now = self._spread.get(user_id, 1)
        if wanted > now:
            self._falling.pop(user_id, None)
            seen = [*self._rising.get(user_id, ()), wanted][-_CHECKS:]
            self._rising[user_id] = seen
            return min(seen) if len(seen) == _CHECKS else now
        self._rising.pop(user_id, None)
        if wanted == now:
            self._falling.pop(user_id, None)
            return now
        since_s, most = self._falling.get(user_id, (now_s, wanted))
        self._falling[user_id] = since_s, max(most, wanted)
        return max(most, wanted) if now_s - since_s >= _DOWN_AFTER_S else now


def _added(shares: Iterable[Mapping[str, float]]) -> defaultdict[str, float]:
    """User id -> share of a core, over all servers."""
    total: defaultdict[str, float] = defaultdict(float)
    for busiest in shares:
        for user_id, share in busiest.items():
            total[user_id] += share
    return total
