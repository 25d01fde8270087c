"""Which model servers are there, which are about to leave, and when the map is levelled again.

Owns every rule of time about servers that come and go; no thread, no SQL. Refuses: which server holds
which shard.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from tenantry.registry.rows import Server

_GRACE_S = 5.0  # servers that were started together register within seconds of each other
_BLIND_S = 3.0  # checks are 0.1 s apart: after such a gap, the registry or this process was away
_FIRST_S = 1.0  # quiet time among the very first servers: nothing is warm yet that a move could chill
_AT_MOST = 4  # times the debounce: servers that come and go forever don't put it off forever


@dataclass(frozen=True, slots=True)
class Ordinals:
    """The pods that a StatefulSet is to have: NAME-`start` to NAME-`start + replicas - 1`."""

    name: str
    replicas: int
    start: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read them from a StatefulSet as the API server shows it."""
        spec = document["spec"]
        start = spec.get("ordinals", {}).get("start", 0)  # Kubernetes 1.27 and newer
        return cls(document["metadata"]["name"], spec.get("replicas", 1), start)

    def exclude(self, server_id: str) -> bool:
        """Return whether a server is a pod of this StatefulSet that is about to go.

        Example:
            >>> [Ordinals("server", 3).exclude(each) for each in ("server-2", "server-3", "other-3")]
            [False, True, False]
        """
        ordinal = re.fullmatch(re.escape(self.name) + r"-(0|[1-9][0-9]*)", server_id, re.ASCII)
        return ordinal is not None and not self.start <= int(ordinal[1]) < self.start + self.replicas


@dataclass(frozen=True, slots=True)
class Standing:
    """The servers at one moment, by name.

    Attributes:
        live: their lease holds: they answer for the shards that they own.
        staying: the live ones that are not about to leave: they may be given shards.
        awaited: own shards, were not seen lately as no server was, and may be starting now.
    """

    live: frozenset[str]
    staying: frozenset[str]
    awaited: frozenset[str]


class Membership:
    """Follows which servers are there, and when nothing has changed for long enough.

    After a restart, a gap in observations, or a moment without servers, wait a few seconds before
    reassigning shards: servers return one by one, and the first must not be given everything.

    Args:
        known: servers that the stored map names: they are not newcomers.
        rebalance_after_s: quiet time before shards move for the sake of balance.
        is_leaving: of a server that does not know it yet, such as by its StatefulSet.
        now_s: when this operator began.
    """

    def __init__(
        self,
        known: Collection[str],
        *,
        rebalance_after_s: float,
        is_leaving: Callable[[str], bool],
        now_s: float,
    ) -> None:
        self._after_s = rebalance_after_s
        self._first = not known
        self._first_until_s: float | None = None
        self._is_leaving = is_leaving
        self._grace_s = min(_GRACE_S, rebalance_after_s)
        self._grace_until_s = now_s + self._grace_s
        self._observed_s = now_s
        self._settled = self._present = frozenset(known)
        self._seen: frozenset[str] = frozenset()  # since the grace began
        self._unrest: tuple[float, float] | None = None  # when it began, when it was seen last

    def observe(self, servers: Sequence[Server], holders: Collection[str], now_s: float) -> Standing:
        """Apply what the registry says of the servers now.

        Args:
            holders: servers that the map names.
        """
        live = frozenset(server.server_id for server in servers if server.live)
        staying = frozenset(
            server.server_id
            for server in servers
            if server.live and not server.report.leaving and not self._is_leaving(server.server_id)
        )
        if not staying or now_s - self._observed_s > _BLIND_S:
            self._grace_until_s = now_s + self._grace_s
            self._seen = frozenset()
        self._observed_s = now_s
        if not staying:
            return Standing(live, staying, frozenset(holders))
        if self._first and self._first_until_s is None:
            self._first_until_s = now_s + self._after_s
        self._seen |= live
        awaited = frozenset(holders) - self._seen if now_s < self._grace_until_s else frozenset()
        self._note(staying | awaited, now_s)
        return Standing(live, staying, awaited)

    def _note(self, present: frozenset[str], now_s: float) -> None:
        if present != self._present:
            began_s = now_s if self._unrest is None else self._unrest[0]
            self._unrest = (began_s, now_s)
            self._present = present
        self._settled &= present  # a server that goes and comes back holds nothing any more

    @property
    def pending(self) -> bool:
        """Whether servers came or went since the map was levelled last."""
        return self._unrest is not None

    @property
    def newcomers(self) -> frozenset[str]:
        """The servers that came since then."""
        return self._present - self._settled

    def due(self, now_s: float) -> bool:
        """Return whether to level the map now."""
        if self._unrest is None:
            return False
        began_s, last_s = self._unrest
        first = self._first_until_s is not None and last_s < self._first_until_s
        after_s = min(_FIRST_S, self._after_s) if first else self._after_s
        return now_s >= min(last_s + after_s, began_s + _AT_MOST * after_s)

    def settle(self) -> None:
        """The map was levelled for the present servers."""
        self._settled = self._present
        self._unrest = None
