"""What the page reads: the registry, and figures that many visitors ask for at once."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Generic, TypeVar

from tenantry.errors import RegistryUnavailable
from tenantry.placement import shard_of
from tenantry.registry import Claim, RegistryReader, Server, TenantBrowser, open_engine
from tenantry_operator.ui.asking import Asker, NotAnswered, Reply

_T = TypeVar("_T")
_COUNTS_S = 2.0  # 10 to 50 ms of SQL at 100,000 tenants
_VERSION_S = 1.0
_MOST_CARDS, _LARGEST_CARD = 64, 128 << 10
MOST_ASKED = 8
"""Servers that are asked at once for what they counted of one tenant."""


class Recent(Generic[_T]):
    """A value that is read again once it is too old, by one thread for all.

    Args:
        read: makes it.
        for_s: how long it is good enough.
    """

    def __init__(
        self, read: Callable[[], _T], for_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._read = read
        self._for_s = for_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._kept: tuple[float, _T] | None = None

    def get(self) -> _T:
        """Return the value; where reading it fails, so does this, and the next call reads again."""
        with self._lock:
            if self._kept is None or self._clock_s() - self._kept[0] >= self._for_s:
                self._kept = None
                self._kept = self._clock_s(), self._read()
            return self._kept[1]


class Sight:
    """The registry and the servers, as the page sees them.

    Args:
        url: of the registry; the page has connections of its own, so that visitors hold up nobody else.
        asker: asks servers.

    Attributes:
        browser, registry: read the registry.
        asker: as given.
    """

    def __init__(self, url: str, asker: Asker) -> None:
        self._engine = open_engine(url)
        self.browser = TenantBrowser(self._engine)
        self.registry = RegistryReader(self._engine)
        self.asker = asker
        self._counts = Recent(self.browser.reasons, _COUNTS_S)
        self._version = Recent(self._look, _VERSION_S)
        self._cards: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(MOST_ASKED, "page")

    def counts(self) -> Mapping[str, int]:
        """Return how many TenantModels have each reason, of the last two seconds."""
        return self._counts.get()

    def version(self) -> str:
        """Return a text that is another one once the page would show something else; at most 1 s old."""
        return self._version.get()

    def owner(self, user_id: str) -> str | None:
        """Return the server that owns the shard of a user."""
        holding = self.registry.shards().get(shard_of(user_id))
        return None if holding is None else holding.server_id

    def card(self, claim: Claim, server: Server, key: str | None) -> bytes | None:
        """Return the card of the model that answers, from a server or as it was read before.

        A model id names exact bytes, so what is kept by it never changes.

        Returns:
            None: the model has none.

        Raises:
            NotAnswered: the server did not say.
        """
        model_id = claim.model_id or ""
        with self._lock:
            known = self._cards.get(model_id)
        if known is not None:
            return known
        reply = self.asker.card(server, claim.user_id or "", key)
        if reply.status != 200 or not reply.is_whole:
            return None
        with self._lock:
            if len(reply.body) <= _LARGEST_CARD:
                self._cards[model_id] = reply.body
            while len(self._cards) > _MOST_CARDS:
                self._cards.popitem(last=False)
        return reply.body

    def counted(self, user_id: str, servers: Sequence[Server], key: str | None) -> list[Reply]:
        """Return what servers counted of a tenant, of those that answered; all are asked at once."""

        def ask(server: Server) -> Reply | None:
            try:
                return self.asker.tenant(server, user_id, key)
            except NotAnswered:
                return None

        return [reply for reply in self._threads.map(ask, servers) if reply is not None]

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def _look(self) -> str:
        try:
            seen: Any = self.browser.mark(), [_shown(server) for server in self.registry.servers()]
        except RegistryUnavailable:
            seen = None
        return sha256(repr(seen).encode("utf-8", "replace")).hexdigest()[:16]


def _shown(server: Server) -> tuple[object, ...]:
    """Return what a person would notice of a server."""
    report = server.report
    return (
        server.server_id,
        server.live,
        report.leaving,
        server.acked_revision,
        round(report.load, 1),
        report.used_bytes >> 20,
    )
