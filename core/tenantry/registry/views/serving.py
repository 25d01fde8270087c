"""The registry as a model server sees it: what changed, its lease, its reports, whom it answered last."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from sqlalchemy import Connection, Engine, delete, select, update

from tenantry.errors import HistoryChanged, ServerIdTaken
from tenantry.manifest.status import Status
from tenantry.registry import history
from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.following.leases import LeaseObserver
from tenantry.registry.following.pieces import pieces
from tenantry.registry.following.polling import Poll
from tenantry.registry.following.stillness import Stillness
from tenantry.registry.following.wakeups import Channel, ring
from tenantry.registry.rows import Assignment, Changes, LoadReport, Server, ServerReport
from tenantry.registry.sql import assignment_from, claim_from, holding_from, servers_in, storable, upsert
from tenantry.registry.strikes import StrikeBook

_REPORTED = [column.name for column in fields(ServerReport)]


class ServerRegistry:
    """Reads assignments and shards; writes only this server's own lease, load reports and hot users.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
        server_id: this server's name, unique among running servers.
        endpoint: the base URL under which its peers reach it.
        capacity_bytes: of its model cache.

    Attributes:
        strikes: the models that ended a worker of any server.
        stillness: whether anything was written since the last `changes_since` began.
    """

    def __init__(self, engine: Engine, server_id: str, *, endpoint: str, capacity_bytes: int) -> None:
        self._engine = engine
        self.server_id = server_id
        self._endpoint = endpoint
        self._capacity_bytes = capacity_bytes
        self._notified = (-1, -1, False)  # the news that the operator was woken for
        self._held = False
        self._poll = Poll(engine, history.POLL)
        self._leases = LeaseObserver()
        self.strikes = StrikeBook(engine)
        self.stillness = Stillness(engine, Channel.SERVERS)

    def pieces(self) -> Iterator[Changes]:
        """Read the whole registry, for a start or after a lost lease; see `following.pieces`."""
        return pieces(self._engine)

    def changes_since(self, revision: int, token: str | None = None) -> Changes:
        """Return what changed after `revision`, tombstones included.

        Args:
            token: of `revision`, as it was read with it; None: not to be compared.

        Raises:
            HistoryChanged: that revision is of another history; read everything.
        """
        self.stillness.before_reading()
        newest, known = self._poll.row()
        if newest == revision and token in (None, known or ""):
            return Changes(revision, complete=False, assignments=[], shards={}, token=known or "")
        self.stillness.found_news()
        return self._read(revision, token)

    def _read(self, after: int, token: str | None) -> Changes:
        rows = select(t.assignments).where(t.assignments.c.revision > after)
        shards = select(t.shard_map).where(t.shard_map.c.revision > after)
        spread = select(t.spread.c.user_id, t.spread.c.replicas).where(t.spread.c.revision > after)
        with reading(self._engine) as connection:
            # The counter first: revisions are committed in order, so whatever it covers is visible
            # to the statements that follow.
            seen, its_token = history.newest(connection, after, token)
            if seen == after:
                return Changes(seen, complete=False, assignments=[], shards={}, token=its_token)
            return Changes(
                seen,
                False,
                [assignment_from(row) for row in connection.execute(rows)],
                {row.shard: holding_from(row) for row in connection.execute(shards)},
                {row.user_id: row.replicas for row in connection.execute(spread)},
                its_token,
            )

    def lookup(self, user_id: str) -> Assignment | None:
        """Return one user's row now; None where there is none, or a tombstone."""
        if "\0" in user_id:
            return None  # PostgreSQL has no such text, so it holds no such user
        query = select(t.assignments).where(t.assignments.c.user_id == user_id)
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None or row.deleted else assignment_from(row)

    def status_of(self, user_id: str) -> Status | None:
        """Return what the operator says of the TenantModel that has this user; None: nothing yet."""
        assigned = select(t.assignments.c.uid).where(t.assignments.c.user_id == user_id)
        query = select(t.claims).where(t.claims.c.uid == assigned.scalar_subquery())
        with reading(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else claim_from(row).status

    def servers(self) -> list[Server]:
        """Return every server that has not been forgotten, this one included, live or not.

        Leases are judged by when this process saw them renewed.
        """
        return self._leases.judged(servers_in(self._engine))

    def renew(
        self, *, lease_s: float, acked_revision: int, report: ServerReport, token: str | None = None
    ) -> None:
        """Hold the lease for `lease_s` from now, and acknowledge what is in force.

        Call it only after every change up to `acked_revision` was applied: the operator says Ready once
        every lease holder has acknowledged. The first call takes the name over, for instance from a
        server that was killed.

        Args:
            token: of `acked_revision`, as it was read with it; None: not to be compared.

        Raises:
            HistoryChanged: that revision is of another history; nothing was written.
            ServerIdTaken: another server took the name since.
        """
        named = t.servers.c.server_id == self.server_id
        mine = named & (t.servers.c.endpoint == self._endpoint) if self._held else named
        values = {
            "server_id": self.server_id,
            "endpoint": self._endpoint,
            "acked_revision": acked_revision,
            "lease_until": now_s(self._engine) + lease_s,
            "lease_s": lease_s,
            "capacity_bytes": self._capacity_bytes,
            **{name: getattr(report, name) for name in _REPORTED},
        }
        with writing(self._engine) as connection:
            if token is not None:
                self._require_history(connection, acked_revision, token)
            changed = connection.execute(update(t.servers).where(mine).values(values))
            if changed.rowcount == 0:
                other = connection.execute(select(t.servers.c.endpoint).where(named)).scalar_one_or_none()
                if other is not None:
                    raise ServerIdTaken(self.server_id, other)
                connection.execute(t.servers.insert().values(values))
            news = (acked_revision, report.prepared_revision, report.leaving)
            if news != self._notified:
                ring(connection, Channel.OPERATOR)
        self._notified = news
        self._held = True

    def _require_history(self, connection: Connection, revision: int, token: str) -> None:
        try:
            history.newest(connection, revision, token)
        except HistoryChanged:
            self._held = False  # the row of this name may be of an earlier start of this server
            raise

    def release(self) -> None:
        """End the lease now: this server no longer answers."""
        mine = (t.servers.c.server_id == self.server_id) & (t.servers.c.endpoint == self._endpoint)
        with writing(self._engine) as connection:
            connection.execute(delete(t.servers).where(mine))
            ring(connection, Channel.OPERATOR)

    def report(self, reports: list[LoadReport]) -> None:
        """Report how loads of candidates ended; a newer report on a user replaces the older."""
        if not reports:
            return
        rows = [
            {
                "user_id": report.user_id,
                "server_id": self.server_id,
                "model_id": report.model_id,
                "state": report.state.value,
                "size_bytes": report.size_bytes,
                "reason": storable(report.reason, 64),
                "message": storable(report.message, 4000),
            }
            for report in reports
        ]
        with writing(self._engine) as connection:
            connection.execute(upsert(self._engine, t.loads), rows)
            ring(connection, Channel.OPERATOR)

    def remember_hot(self, requests: Mapping[str, int]) -> None:
        """Replace the list of users that this server answered lately.

        Args:
            requests: user id -> how many, the most important first.
        """
        row = {
            "server_id": self.server_id,
            "user_ids": list(requests),
            "requests": list(requests.values()),
            "seen_at": now_s(self._engine),
        }
        with writing(self._engine) as connection:
            connection.execute(upsert(self._engine, t.hot).values(row))

    def hot(self) -> dict[str, dict[str, int]]:
        """Return, by server id, the users that it answered lately with their requests, the busiest first.

        0 requests where a server of an older release does not count. A user may be gone by now. What a
        server kept is forgotten after a week.
        """
        query = select(t.hot.c.server_id, t.hot.c.user_ids, t.hot.c.requests)
        with reading(self._engine) as connection:
            return {
                row.server_id: dict(zip(row.user_ids, _counts(row.user_ids, row.requests), strict=True))
                for row in connection.execute(query)
            }


def _counts(user_ids: Sequence[str], requests: Sequence[int] | None) -> Sequence[int]:
    """Return the requests of these users; zeros where an older release overwrote the users alone."""
    return requests if requests and len(requests) == len(user_ids) else [0] * len(user_ids)
