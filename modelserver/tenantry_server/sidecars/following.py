"""Keeps a routing table in step with a model server, as `assignments.follower` does with the registry.

Owns which server is followed, and when the table may be trusted. Refuses SQL. A question acknowledges what
the answer before it brought; so there is never more than one under way.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import structlog

from tenantry.processes.logs import OnChange
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry.rows import Changes
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry.trust.tls import Tls
from tenantry_server.assignments.compact_rows import Reading
from tenantry_server.peers.answers import bounded
from tenantry_server.sidecars import messages, routes
from tenantry_server.sidecars.feed import LEASE_S
from tenantry_server.sidecars.followed_table import FollowedTable

log = structlog.get_logger(__name__)

_ANSWER_S = 2.5  # within a lease; an answer without news comes after a second
_LEAVE_S = 0.5
_AGAIN_S = 0.1
_MOST_BYTES = 64 << 20  # of one answer: far more than servers send at once
_CHALLENGE = re.compile("[0-9a-f]{32}")

Fetch = Callable[[str, str], Awaitable[bytes]]
"""From a server's base URL and a cursor to the answer's body.

Raises:
    OSError, TimeoutError, ValueError: the server did not answer as servers of ours do, or refused.
"""


class ServerFollower:
    """Follows one of several servers, and the next one where that one does not answer.

    Args:
        table: what requests are answered from.
        servers: base URLs, the preferred one first; read each time.
        fetch: how a server is asked, such as `HttpFetch`.
        discard: called with each model id that no longer answers for any user.
        met: called with the servers that live whenever one says it; returns the base URL under which to
            follow the one that answered from now on, None: as before.
        clock_s: seconds, never going back; a parameter so that tests can move it.

    Attributes:
        cursor: to ask with next.
        url: of the server that is followed.
        problem: why the one asked last could not be followed; empty: it is followed.
    """

    def __init__(
        self,
        table: FollowedTable,
        servers: Callable[[], Sequence[str]],
        fetch: Fetch,
        *,
        discard: Callable[[str], None] = lambda _: None,
        met: Callable[[messages.Fleet], str | None] = lambda _: None,
        clock_s: Callable[[], float] = boot_clock_s,
    ) -> None:
        self._table = table
        self._servers = servers
        self._fetch = fetch
        self._discard = discard
        self._met = met
        self._clock_s = clock_s
        self._loss = OnChange(log)
        self._reading: Reading | None = None
        self.cursor = ""
        self.url = ""
        self.problem = "no server was asked yet"

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            servers = self._servers()
            if self.problem or self.url not in servers:
                self.url = _after(self.url, servers)
            if not await self.ask(self.url):
                await asyncio.sleep(_AGAIN_S)

    def stop_trusting(self) -> None:
        """End the lease: from here on nothing is answered from the table."""
        self._table.contact.history_changed()

    async def ask(self, url: str) -> bool:
        """Ask a server once, and put in force what it answers; return whether that was of use."""
        began_s = self._clock_s()
        try:
            answer = messages.decode(await self._fetch(url, self.cursor))
        except (OSError, TimeoutError, ValueError) as error:
            self.problem = f"{url}: {type(error).__name__}: {error}"
            self._loss.warning("server lost", url=url, error=f"{type(error).__name__}: {error}")
            self._table.contact.fell_silent()
            return False
        if not self.take(answer, began_s):
            self.problem = f"{url}: it is behind what is in force here, or its pages don't fit together"
            return False
        self.problem = ""
        if answer.fleet is not None:
            self.url = self._met(answer.fleet) or self.url
        if not answer.more:
            self._loss.over("server found", url=url, revision=self._table.revision)
        return True

    def take(self, answer: messages.Answer, began_s: float) -> bool:
        """Put an answer in force; from here on no request sees anything older.

        Args:
            began_s: before the question was sent; the lease counts from there.

        Returns:
            whether it was put in force. A server that is behind what is in force here is refused as long
            as the lease holds.
        """
        try:
            reading, changes = self._sorted(answer)
        except (ValueError, IndexError):
            self._reading, self.cursor = None, ""
            return False
        if answer.more:
            self.cursor = answer.cursor
            return True
        self._reading = None
        brought = [*([reading.head] if reading else []), *changes]
        if self._table.lease_held and any(each.revision < self._table.revision for each in brought):
            return False
        if reading is not None:
            self._discarded(self._table.replace(reading))
        for each in changes:
            self._discarded(self._table.put(each))
        self.cursor = answer.cursor
        self._table.contact.answered()
        self._table.contact.renewed(until_s=began_s + min(answer.lease_s, LEASE_S))
        return True

    def _sorted(self, answer: messages.Answer) -> tuple[Reading | None, list[Changes]]:
        """Add to the reading what is a piece of it; return that, and the changes after it.

        Raises:
            ValueError, IndexError: the pieces don't fit together.
        """
        changes = answer.changes
        if any(each.complete for each in changes):  # it begins, whatever another server left half done
            self._reading = Reading(changes[0], sizes=False)
        elif answer.more or self._reading is not None:
            if self._reading is None:
                raise ValueError("a reading that begins in its middle")
            self._reading.add(changes[0])
        else:
            return None, changes
        if any(each.complete for each in changes[1:]):
            raise ValueError("two readings at once")
        return self._reading, changes[1:]

    def _discarded(self, model_ids: set[str]) -> None:
        for model_id in model_ids:
            self._discard(model_id)


def _after(url: str, servers: Sequence[str]) -> str:
    """Return the server after this one."""
    if not servers:
        return ""
    return servers[(servers.index(url) + 1) % len(servers)] if url in servers else servers[0]


class HttpFetch:
    """Asks servers over HTTP, and proves that this process knows the fleet's secret where one asks for it.

    Args:
        follower: the name of this process; no other one may have it.
        secrets: of the fleet; None: it has none.
        tls: whom this process trusts, and what it shows to servers; None: as the system does, and nothing.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        follower: str,
        secrets: FleetSecrets | None,
        tls: Tls | None = None,
    ) -> None:
        self._session = session
        self._follower = follower
        self._secrets = secrets
        self._tls = tls or Tls()
        self._challenges: dict[str, str] = {}

    async def __call__(self, url: str, cursor: str) -> bytes:
        """Ask one server; see `Fetch`."""
        async with asyncio.timeout(_ANSWER_S):
            status, body = await self._ask(url, cursor)
            if status == 401 and self._secrets is not None:
                status, body = await self._ask(url, cursor)
        if status == 404:
            raise ConnectionError(
                "it answered 404: there is no model server, or one without TENANTRY_FLEET_SECRET"
            )
        if status != 200:
            raise ConnectionError(f"it answered {status}: {body[:200].decode(errors='replace')}")
        return body

    async def leave(self, url: str) -> None:
        """Say that this process trusts nothing any more, so that nothing waits for it.

        Raises:
            OSError, TimeoutError: the server did not answer; it waits until the lease is over.
        """
        async with asyncio.timeout(_LEAVE_S):
            await self._ask(url, "", leaving="1")

    async def _ask(self, url: str, cursor: str, **more: str) -> tuple[int, bytes]:
        headers = {}
        if self._secrets is not None and url in self._challenges:
            asked = self._challenges[url]
            headers[routes.PROOF] = routes.proof(self._secrets.current, self._follower, asked)
        query = {"follower": self._follower, "cursor": cursor} | more
        try:
            secured = self._tls.client() if url.startswith("https:") else True
            async with self._session.get(
                url + routes.PATH, params=query, headers=headers, allow_redirects=False, ssl=secured
            ) as response:
                if response.status == 401:
                    asked = response.headers.get(routes.CHALLENGE, "")
                    self._challenges = {url: asked} if _CHALLENGE.fullmatch(asked) else {}
                return response.status, await bounded.read(response, most_bytes=_MOST_BYTES)
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
