"""The registry as the operator sees it: every write under its epoch, every change with a revision."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, bindparam, delete, func, select, update

from tenantry.errors import LeadershipLost, RegistryMismatch
from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.reading import RegistryReader, chunks
from tenantry.registry.rows import Assignment, Claim, Holding, LoadReport, LoadState
from tenantry.registry.sql import (
    shard_map,
    upsert,
    values_of,
)
from tenantry.registry.wakeups import Channel, listen, ring

_FORGET_HOT_S = 7 * 86400.0  # a server that was idle for so long has no hot users
_HEARD = ("user_id", "server_id", "model_id", "state")


@dataclass(frozen=True, slots=True)
class Writes:
    """What one transaction of the operator changes.

    Attributes:
        claims: rows to insert or replace.
        forgotten: uids of claims to remove.
        assignments: rows to insert or replace; their revisions are given on commit.
        answered: load reports that this transaction takes into account, to be removed.
    """

    claims: Sequence[Claim] = ()
    forgotten: Sequence[str] = ()
    assignments: Sequence[Assignment] = ()
    answered: Sequence[LoadReport] = ()


class OperatorRegistry(RegistryReader):
    """Reads and writes as the leader; a leader that was replaced is refused by its epoch.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
        holder: this operator's name, for people.
    """

    def __init__(self, engine: Engine, holder: str) -> None:
        super().__init__(engine)
        self._holder = holder
        self._epoch: int | None = None

    def lead(self, source: str) -> int:
        """Become the leader: from its commit on, every earlier leader's writes are refused.

        Args:
            source: what this operator follows, such as a folder or a cluster; a registry follows one.

        Returns:
            the new epoch.

        Raises:
            RegistryMismatch: this registry follows another source: to go on would remove every
                tenant of that one.
        """
        with writing(self._engine) as connection:
            row = connection.execute(select(t.leader).with_for_update()).one()
            if row.source not in ("", source):
                raise RegistryMismatch(
                    f"this registry follows {row.source}, not {source}; "
                    "choose another registry for it, so that neither loses its tenants"
                )
            self._epoch = row.epoch + 1
            connection.execute(
                update(t.leader).values(epoch=self._epoch, holder=self._holder, source=source)
            )
        return self._epoch

    @contextmanager
    def _fenced(self) -> Iterator[tuple[Connection, int]]:
        """Begin a transaction that holds the leader row; yield it with the last revision given out."""
        if self._epoch is None:
            raise LeadershipLost(0, 0)
        with writing(self._engine) as connection:
            row = connection.execute(select(t.leader).with_for_update()).one()
            if row.epoch != self._epoch:
                raise LeadershipLost(self._epoch, row.epoch)
            yield connection, row.revision

    def commit(self, writes: Writes) -> dict[str, int]:
        """Write all of it or nothing.

        Returns:
            user id -> revision, for every assignment written.

        Raises:
            LeadershipLost: another operator leads; nothing was written.
        """
        revisions: dict[str, int] = {}
        with self._fenced() as (connection, last):
            if writes.claims:
                rows = [values_of(claim) for claim in writes.claims]
                connection.execute(upsert(self._engine, t.claims), rows)
            for uids in chunks(writes.forgotten):
                connection.execute(delete(t.claims).where(t.claims.c.uid.in_(uids)))
            for revision, assignment in enumerate(writes.assignments, start=last + 1):
                revisions[assignment.user_id] = revision
            if writes.assignments:
                rows = [values_of(a) | {"revision": revisions[a.user_id]} for a in writes.assignments]
                connection.execute(upsert(self._engine, t.assignments), rows)
                self._count_to(connection, last + len(rows))
                ring(connection, Channel.SERVERS)
            if writes.answered:
                # Only the report that was read: a newer one of the same server stays.
                heard = delete(t.loads).where(
                    *(t.loads.c[name] == bindparam(f"heard_{name}") for name in _HEARD)
                )
                connection.execute(
                    heard,
                    [{f"heard_{n}": str(getattr(r, n)) for n in _HEARD} for r in writes.answered],
                )
        return revisions

    def assign_shards(self, holdings: Mapping[int, Holding]) -> dict[int, Holding]:
        """Write the shards whose owner or next owner changed, all under one revision.

        Returns:
            those that changed, with their revision.
        """
        with self._fenced() as (connection, last):
            current = shard_map(connection)
            changed = {
                shard: replace(holding, revision=last + 1)
                for shard, holding in holdings.items()
                if current.get(shard) != holding
            }
            if changed:
                rows = [{"shard": shard} | values_of(holding) for shard, holding in changed.items()]
                connection.execute(upsert(self._engine, t.shard_map), rows)
                self._count_to(connection, last + 1)
                ring(connection, Channel.SERVERS)
        return changed

    def set_spread(self, replicas: Mapping[str, int]) -> None:
        """Set on how many servers these users' models are to be, as measured; 1: like all others."""
        if not replicas:
            return
        with self._fenced() as (connection, last):
            rows = [
                {"user_id": user_id, "replicas": count, "revision": last + 1}
                for user_id, count in replicas.items()
            ]
            connection.execute(upsert(self._engine, t.spread), rows)
            self._count_to(connection, last + 1)
            ring(connection, Channel.SERVERS)

    def _count_to(self, connection: Connection, revision: int) -> None:
        connection.execute(update(t.leader).values(revision=revision))

    def listen(self, heard: Callable[[], None], stop: threading.Event) -> None:
        """Call `heard`, from a thread, when a server reported, where the database can notify."""
        listen(self._engine, Channel.OPERATOR, heard, stop)

    def reports(self) -> list[LoadReport]:
        """Return the reports on candidates that no decision has answered yet."""
        with reading(self._engine) as connection:
            return [
                LoadReport(
                    row.user_id,
                    row.server_id,
                    row.model_id,
                    LoadState(row.state),
                    row.size_bytes,
                    row.reason,
                    row.message,
                )
                for row in connection.execute(select(t.loads))
            ]

    def sweep(self, *, forget_servers_s: float) -> int:
        """Remove servers and hot users of long ago, and tombstones that every live server has passed.

        A server whose lease ran out reads everything again, so only live ones hold tombstones back.

        Returns:
            how many tombstones went.
        """
        now = now_s(self._engine)
        with self._fenced() as (connection, last):
            connection.execute(delete(t.servers).where(t.servers.c.lease_until < now - forget_servers_s))
            connection.execute(delete(t.hot).where(t.hot.c.seen_at < now - _FORGET_HOT_S))
            passed = connection.execute(
                select(func.min(t.servers.c.acked_revision)).where(t.servers.c.lease_until > now)
            ).scalar_one()
            seen = last if passed is None else passed
            connection.execute(
                delete(t.spread).where(t.spread.c.replicas <= 1, t.spread.c.revision <= seen)
            )
            gone = connection.execute(
                delete(t.assignments).where(
                    t.assignments.c.deleted.is_(True), t.assignments.c.revision <= seen
                )
            )
        return gone.rowcount
