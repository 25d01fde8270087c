"""The servers that a client knows: the ones it was given, the map, and who did not answer lately.

Safe to use from several threads. Asks nobody; the clients do.
"""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count

from tenantry.client.answers import Reply
from tenantry.client.questions import Question
from tenantry.client.shard_map import ShardMap, base_url
from tenantry.processes import backoff

_AGAIN_S = 0.25  # between two readings of the map, however often answers say that it is old
_ANYHOW_S = 30.0  # after which it is read without a reason
_FIRST_DOWN_S, _LAST_DOWN_S = 0.5, 30.0
MAP_S = 1.0  # for one reading of the map, of the time of a call
_MOST = 4  # of the map's servers, that one call asks
_NEVER = float("-inf")


class Fleet:
    """Whom to ask.

    Args:
        servers: base URLs that the client was given, of servers or of a balancer before them.
        direct: whether to follow the map; otherwise only `servers` are asked.
        clock_s: seconds, never going back.

    Raises:
        ValueError: an address is not a URL of HTTP, or there is none.
    """

    def __init__(
        self, servers: Sequence[str], *, direct: bool, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._given = [base_url(url) for url in servers]
        if not self._given:
            raise ValueError("give the address of one server at least, such as http://127.0.0.1:8080")
        self._secure = all(url.startswith("https:") for url in self._given)
        self._direct = direct
        self._clock_s = clock_s
        self._turns = count()
        self._lock = threading.Lock()
        self._map: ShardMap | None = None
        self._tag = ""
        self._newest = 0  # the newest revision of the map that an answer named
        self._asked_s = _NEVER
        self._down: dict[str, tuple[int, float]] = {}  # failures in a row, and until when

    def order(self, user_id: str) -> list[str]:
        """Return whom to ask, best first: by the map, then those given; who did not answer goes last."""
        turn = next(self._turns) % len(self._given)
        given = self._given[turn:] + self._given[:turn]
        near = () if self._map is None else self._map.order(user_id)[:_MOST]
        order = list(dict.fromkeys([*near, *given]))
        if not self._down:
            return order
        now_s = self._clock_s()
        return sorted(order, key=lambda url: self._down.get(url, (0, _NEVER))[1] > now_s)

    def refused(self, url: str) -> None:
        """No connection could be made to a server: ask it last for a while, and read the map again."""
        with self._lock:
            failures = self._down.get(url, (0, 0.0))[0] + 1
            wait_s = backoff.delay_s(failures, first_s=_FIRST_DOWN_S, last_s=_LAST_DOWN_S)
            self._down[url] = failures, self._clock_s() + wait_s
            self._newest = max(self._newest, self._revision + 1)

    def answered(self, url: str, shards: str | None) -> None:
        """Note an answer.

        Args:
            shards: its header Tenantry-Shards.
        """
        if url in self._down:
            with self._lock:
                self._down.pop(url, None)
        if shards is not None and shards.isascii() and shards.isdigit() and len(shards) < 20:
            self._newest = max(self._newest, int(shards))

    def wants_map(self) -> bool:
        """Return whether to read the map now; True for one caller at a time."""
        if not self._direct:
            return False
        age_s = self._clock_s() - self._asked_s
        if age_s < _AGAIN_S or (age_s < _ANYHOW_S and self._newest <= self._revision):
            return False
        with self._lock:
            if self._clock_s() - self._asked_s < _AGAIN_S:
                return False
            self._asked_s = self._clock_s()
            return True

    def map_question(self, user_id: str) -> Question:
        """Return what to ask for the map, on the way to this user."""
        return Question(user_id, "/shards", headers={"If-None-Match": self._tag} if self._tag else {})

    def map_answered(self, reply: Reply) -> None:
        """Apply an answer to `map_question`."""
        if reply.status == 304:  # the map that is known is the newest
            self._newest = self._revision
        else:
            self.map_read(reply.headers.get("etag", ""), reply.body)

    def map_read(self, tag: str, body: bytes) -> None:
        """Apply what ``GET /shards`` answered; what is not a map changes nothing.

        A map never leads from https to http: credentials that were given for one don't go over the other.
        """
        try:
            found = ShardMap.read(body)
        except ValueError:
            return
        if self._secure and not all(url.startswith("https:") for url in found.urls.values()):
            found = ShardMap(found.revision, {}, {})
        with self._lock:
            self._map, self._tag, self._newest = found, tag, found.revision
            self._down = {url: down for url, down in self._down.items() if url in self._known(found)}

    def _known(self, found: ShardMap) -> set[str]:
        return {*self._given, *found.urls.values()}

    @property
    def _revision(self) -> int:
        return -1 if self._map is None else self._map.revision
