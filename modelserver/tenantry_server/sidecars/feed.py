"""The changes that this server hands to its followers, and what they have put in force.

Owns the order of the changes, the lease of each follower, and which revision this server may acknowledge:
the newest that it and each follower with a lease have in force. Refuses HTTP (see `routes`).

A follower's lease never outlasts this server's own, so the operator, which waits for this server's lease,
waits for the followers' with it. A follower counts its lease from before it asked, this server from when it
answered; so the follower stops trusting its table first.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_hex

from tenantry.processes.runtime import boot_clock_s, set_within
from tenantry.registry.rows import Changes
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.sidecars import messages
from tenantry_server.sidecars.pages import Pages

LEASE_S = 3.0
_MOST_FOLLOWERS = 4096
_MOST_BATCHES = 1024
_MOST_ROWS = 16_384  # in these batches: what may come while a follower reads everything else
_PAGES_S = 30.0  # that a reading of everything is kept for the next follower
_CURSOR = re.compile(r"([0-9a-f]{16})\.(\d{1,18})(?:\+(\d{1,9})|@(-?\d{1,18})\.([0-9A-Za-z]{0,64}))")
_ENDING_EVERY_S = 0.02
_NOTHING = (-1, "")


@dataclass(slots=True)
class _Follower:
    """One follower: the number of the batch that it has in force, that batch's revision, and its lease.

    Attributes:
        given_s: when it was first given what it has not acknowledged; None: it has acknowledged everything.
    """

    number: int
    at: tuple[int, str]
    until_s: float
    given_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Batch:
    at: tuple[int, str]
    rows: int
    body: bytes
    published_s: float


class Feed:
    """Hands each change to every follower, and counts who has it in force; for one event loop.

    Args:
        table: of this server; a change is in force in it before it is published here.
        fleet: returns the servers that live, as `messages.encode_fleet` writes them.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Attributes:
        acknowledged: called once all followers have the newest change in force.
    """

    def __init__(
        self,
        table: RoutingTable,
        *,
        fleet: Callable[[], bytes] = lambda: b"",
        clock_s: Callable[[], float] = boot_clock_s,
    ) -> None:
        self._table = table
        self._fleet = fleet
        self._clock_s = clock_s
        self._name = token_hex(8)  # a cursor of another process means nothing here
        self._newest = 0
        self._whole = 0  # the newest batch that was a reading of everything
        self._at = _NOTHING
        self._batches: OrderedDict[int, _Batch] = OrderedDict()
        self._rows = 0
        self._pages: Pages | None = None
        self._pages_until_s = 0.0
        self._followers: dict[str, _Follower] = {}
        self._published = asyncio.Event()
        self._ending = False
        self.acknowledged: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        self._forget_expired()
        return len(self._followers)

    @property
    def behind_s(self) -> float:
        """How long ago the oldest change came that a follower lacks; 0: all have everything."""
        self._forget_expired()
        number = min((each.number for each in self._followers.values()), default=self._newest)
        missing = next((batch for at, batch in self._batches.items() if at > number), None)
        return 0.0 if missing is None else self._clock_s() - missing.published_s

    def changed(self, changes: Changes) -> None:
        """Publish what has just been put in force here."""
        at = changes.revision, changes.token
        if at == self._at and not changes.complete:
            return
        self._newest += 1
        self._at = at
        if changes.complete:
            self._whole = self._newest
            self._batches.clear()
            self._rows = 0
        if changes.complete:
            self._pages = None
        rows = len(changes.assignments) + len(changes.shards) + len(changes.spread)
        # A reading of everything is written once somebody asks for it.
        wanted = not changes.complete and (self._followers or self._pages is not None)
        body = messages.encode(changes) if wanted else b""
        self._batches[self._newest] = _Batch(at, rows, body, self._clock_s())
        self._rows += rows
        while len(self._batches) > _MOST_BATCHES or (self._rows > _MOST_ROWS and len(self._batches) > 1):
            self._rows -= self._batches.popitem(last=False)[1].rows
        self._published.set()
        self._published = asyncio.Event()

    def in_force(self) -> tuple[int, str]:
        """Return the revision that this server may acknowledge, and its token; -1: none."""
        own = self._table.revision, self._table.token
        self._forget_expired()
        behind = min(self._followers.values(), key=lambda each: each.number, default=None)
        if own[0] < 0 or behind is None or behind.number == self._newest:
            return own
        # Everything was read because the history is another one: what a follower has is not part of it.
        return _NOTHING if behind.number < self._whole else behind.at

    def heard(self, follower: str, cursor: str) -> None:
        """Note what a follower has in force, as it says with its next question."""
        known = self._known(follower)
        number = self._number(cursor)
        batch = None if number is None else self._batches.get(number)
        if known is None or number is None or batch is None or number <= known.number:
            return  # a question that was held up on its way takes nothing back
        known.number, known.at, known.given_s = number, batch.at, None
        if all(each.number == self._newest for each in self._followers.values()):
            self.acknowledged()

    async def until_newer(self, cursor: str, timeout_s: float) -> None:
        """Wait until there is something that a follower with this cursor does not have."""
        if self._number(cursor) == self._newest:
            await set_within(self._published, timeout_s)

    def answer(self, follower: str, cursor: str) -> bytes | None:
        """Return what came after `cursor`, with a lease; None: this server may promise nothing now."""
        lease_s = min(LEASE_S, self._table.contact.lease_left_s)
        if self._ending or lease_s <= 0 or self._table.revision < 0:
            return None
        number = self._number(cursor)
        newer = None if number is None else self._since(number)
        if newer is not None:
            return self._granted(follower, lease_s, newer)
        at, pages, newer = self._paged(cursor)
        if at + 1 < len(pages):
            return messages.join(
                f"{self._name}.{pages.number}+{at + 1}", 0.0, [pages[at]], more=True, fleet=self._fleet()
            )
        return self._granted(follower, lease_s, [pages[at], *newer])

    def left(self, follower: str) -> None:
        """Wait for a follower no more, which trusts nothing from now on."""
        if self._followers.pop(follower, None) is not None:
            self.acknowledged()

    def _granted(self, follower: str, lease_s: float, batches: list[bytes]) -> bytes | None:
        """Return an answer that brings a follower up to the newest change, with a lease."""
        now_s = self._clock_s()
        known = self._known(follower)
        if known is None:
            if len(self) >= _MOST_FOLLOWERS:
                return None
            # It trusts nothing before it has put this very answer in force.
            known = self._followers[follower] = _Follower(self._newest, self._at, now_s)
        if known.number < self._newest:
            # One that asks and does not hear the answers would hold up every Ready.
            known.given_s = now_s if known.given_s is None else known.given_s
            lease_s = min(lease_s, known.given_s + LEASE_S - now_s)
            if lease_s <= 0:
                return None
        known.until_s = max(known.until_s, now_s + lease_s)
        cursor = f"{self._name}.{self._newest}@{self._at[0]}.{self._at[1]}"
        return messages.join(cursor, lease_s, batches, fleet=self._fleet())

    async def end(self) -> None:
        """Grant no more leases, and wait until those that were granted are over.

        Call it before this server's own lease is given up: from then on nobody waits for its followers.
        """
        self._ending = True
        self._published.set()
        while len(self):  # noqa: ASYNC110 - leases end by the clock alone
            await asyncio.sleep(_ENDING_EVERY_S)

    def _since(self, number: int) -> list[bytes] | None:
        """Return the batches after one; None: they are not here any more."""
        if number < self._whole:
            return None
        missing = [self._batches.get(each) for each in range(number + 1, self._newest + 1)]
        bodies = [batch.body for batch in missing if batch is not None and batch.body]
        return bodies if len(bodies) == len(missing) else None

    def _paged(self, cursor: str) -> tuple[int, Pages, list[bytes]]:
        """Return which piece of which reading a follower gets, and the batches after that reading."""
        pages, newer, at = self._pages, None, 0
        if pages is not None:
            newer = self._since(pages.number)
        if pages is None or newer is None:
            pages, newer = Pages(self._newest, self._table.everything()), []
        else:
            named = _CURSOR.fullmatch(cursor)
            if named is not None and named[3] and (named[1], int(named[2])) == (self._name, pages.number):
                at = min(int(named[3]), len(pages) - 1)
        self._pages, self._pages_until_s = pages, self._clock_s() + _PAGES_S
        return at, pages, newer

    def _number(self, cursor: str) -> int | None:
        """Return the number of the batch that a cursor names; None: this process has none such.

        A follower of another server has the same in force as one of this server's, where revision and token
        are the same.
        """
        named = _CURSOR.fullmatch(cursor)
        if named is None or named[3]:
            return None
        if named[1] == self._name:
            return int(named[2]) if int(named[2]) <= self._newest else None
        at = int(named[4]), named[5]
        return next((number for number in reversed(self._batches) if self._batches[number].at == at), None)

    def _known(self, follower: str) -> _Follower | None:
        known = self._followers.get(follower)
        return known if known is not None and self._clock_s() < known.until_s else None

    def _forget_expired(self) -> None:
        now_s = self._clock_s()
        for name in [name for name, each in self._followers.items() if each.until_s <= now_s]:
            del self._followers[name]
        if now_s >= self._pages_until_s:
            self._pages = None
