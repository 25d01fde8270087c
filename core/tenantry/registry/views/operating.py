"""The registry as the operator sees it: every write under its epoch, every change with a revision."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from tenantry.errors import LeadershipLost, RegistryMismatch
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry import history
from tenantry.registry import schema as t
from tenantry.registry.access.bindings import bind
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.following.leases import LeaseObserver
from tenantry.registry.following.polling import Poll
from tenantry.registry.following.stillness import Stillness
from tenantry.registry.following.wakeups import Channel, ring
from tenantry.registry.rows import Assignment, Claim, Holding, LoadReport, Server
from tenantry.registry.sql import report_from, servers_on, shard_map, upsert, values_of
from tenantry.registry.views.reading import RegistryReader, chunks
from tenantry.registry.views.sweeping import sweep
from tenantry.registry.views.term import Term

_FORGET_HOT_S = 7 * 86400.0  # a server that was idle for so long has no hot users
_LEADER = "SELECT epoch, token, mark FROM leader"
_HEARD = ("user_id", "server_id", "model_id", "state")


@dataclass(frozen=True, slots=True)
class Writes:
    """What one transaction of the operator changes.

    Attributes:
        claims: rows to insert or replace.
        forgotten: uids of claims to remove.
        assignments: rows to insert or replace; their revisions are given on commit.
        answered: load reports that this transaction takes into account, to be removed.
        bindings: namespace by user id, of users that belong to one from now on.
        released: users that belong to no namespace any more.
    """

    claims: Sequence[Claim] = ()
    forgotten: Sequence[str] = ()
    assignments: Sequence[Assignment] = ()
    answered: Sequence[LoadReport] = ()
    bindings: Mapping[str, str] = field(default_factory=dict)
    released: Sequence[str] = ()


@dataclass(slots=True)
class _Write:
    """A transaction under this operator's epoch, and the last revision that it gives out."""

    connection: Connection
    last: int
    counted: bool = False

    def count_to(self, revision: int) -> None:
        """Give out every revision up to this one, and wake the servers."""
        self.last, self.counted = revision, True
        ring(self.connection, Channel.SERVERS)


class OperatorRegistry(RegistryReader):
    """Reads and writes as the leader; a leader that was replaced is refused by its epoch and token.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
        holder: this operator's name, for people.
        clock_s: seconds, never going back; by it leases are judged, and tests can move it.

    Attributes:
        leases: of the servers, as this process saw them renewed.
        led_at: the revision with which it led again after a change of history; 0: there was none.
        stillness: whether anything was written since the last `check` began.
    """

    def __init__(self, engine: Engine, holder: str, *, clock_s: Callable[[], float] = boot_clock_s) -> None:
        super().__init__(engine)
        self._holder = holder
        self._term: Term | None = None
        self._poll = Poll(engine, _LEADER)
        self.leases = LeaseObserver(clock_s=clock_s)
        self.led_at = 0
        self.stillness = Stillness(engine, Channel.OPERATOR)
        self._said: set[tuple[str, int, int, bool]] = set()  # what servers ring for

    def lead(self, source: str, *, formerly: str = "") -> int:
        """Become the leader: from its commit on, every earlier leader's writes are refused.

        Called again after `HistoryChanged`, it takes a revision of its own: only servers that have
        acknowledged that one, or a later one, know the history that stands now.

        Args:
            source: what this operator follows, such as a folder or a cluster; a registry follows one.
            formerly: what an older release wrote for the same source.

        Returns:
            the new epoch.

        Raises:
            RegistryMismatch: this registry follows another source: to go on would remove every
                tenant of that one.
        """
        with writing(self._engine) as connection:
            row = connection.execute(select(t.leader).with_for_update()).one()
            if row.source not in ("", source, formerly):
                raise RegistryMismatch(
                    f"this registry follows {row.source}, not {source}; "
                    "choose another registry for it, so that neither loses its tenants"
                )
            known = 0 if self._term is None else self._term.epoch  # a restore may have taken it back
            term = Term(max(known, row.epoch) + 1, history.new_token(), {history.new_token()})
            (mark,) = term.marks
            values: dict[str, int | str] = {
                "epoch": term.epoch,
                "token": term.token,
                "mark": mark,
                "holder": self._holder,
                "source": source,
            }
            if self._term is not None:
                values["revision"] = row.revision + 1
                history.write(connection, row.revision + 1, mark)
                ring(connection, Channel.SERVERS)
            connection.execute(update(t.leader).values(values))
            ring(connection, Channel.OPERATOR)  # one that leads until now ends
        if self._term is not None:
            self.leases.history_changed()
            self.led_at = row.revision + 1
        self._term = term
        return term.epoch

    def check(self) -> None:
        """Make sure that this operator leads, and that all it wrote is there.

        Raises:
            LeadershipLost: another operator leads.
            HistoryChanged: the registry lost writes of this operator: lead again, and begin from its rows.
        """
        if self._term is None:
            raise LeadershipLost(0, 0)
        self.stillness.before_reading()
        self._term.require(*self._poll.row())

    @contextmanager
    def _fenced(self) -> Iterator[_Write]:
        """Begin a transaction that holds the leader row, and leaves a mark in it."""
        if self._term is None:
            raise LeadershipLost(0, 0)
        mark = history.new_token()
        with writing(self._engine) as connection:
            row = connection.execute(select(t.leader).with_for_update()).one()
            self._term.require(row.epoch, row.token, row.mark)
            self._term.marks = {row.mark, mark}  # both, as the answer to the commit may be lost
            write = _Write(connection, row.revision)
            yield write
            values: dict[str, int | str] = {"mark": mark}
            if write.counted:
                history.write(connection, write.last, mark)
                values["revision"] = write.last
            connection.execute(update(t.leader).values(values))
        self._term.marks = {mark}

    def commit(self, writes: Writes) -> dict[str, int]:
        """Write all of it or nothing.

        Returns:
            user id -> revision, for every assignment written.

        Raises:
            LeadershipLost: another operator leads; nothing was written.
        """
        revisions: dict[str, int] = {}
        with self._fenced() as write:
            connection = write.connection
            if writes.claims:
                rows = [values_of(claim) for claim in writes.claims]
                connection.execute(upsert(self._engine, t.claims), rows)
            for uids in chunks(writes.forgotten):
                connection.execute(delete(t.claims).where(t.claims.c.uid.in_(uids)))
            for revision, assignment in enumerate(writes.assignments, start=write.last + 1):
                revisions[assignment.user_id] = revision
            if writes.assignments:
                rows = [values_of(a) | {"revision": revisions[a.user_id]} for a in writes.assignments]
                connection.execute(upsert(self._engine, t.assignments), rows)
                write.count_to(write.last + len(rows))
            bind(connection, writes.bindings, writes.released)
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
        with self._fenced() as write:
            current = shard_map(write.connection)
            changed = {
                shard: replace(holding, revision=write.last + 1)
                for shard, holding in holdings.items()
                if current.get(shard) != holding
            }
            if changed:
                rows = [{"shard": shard} | values_of(holding) for shard, holding in changed.items()]
                write.connection.execute(upsert(self._engine, t.shard_map), rows)
                write.count_to(write.last + 1)
        return changed

    def set_spread(self, replicas: Mapping[str, int]) -> None:
        """Set on how many servers these users' models are to be, as measured; 1: like all others."""
        if not replicas:
            return
        with self._fenced() as write:
            rows = [
                {"user_id": user_id, "replicas": count, "revision": write.last + 1}
                for user_id, count in replicas.items()
            ]
            write.connection.execute(upsert(self._engine, t.spread), rows)
            write.count_to(write.last + 1)

    def servers(self) -> list[Server]:
        """Return every server that has not been forgotten, live or not, by name.

        What was acknowledged before this operator led again counts for nothing: its history may differ.
        """
        servers = self.leases.judged(super().servers())
        said = {_announced(server) for server in servers}
        if said != self._said:
            self.stillness.found_news()
        self._said = said
        return [
            server if server.acked_revision >= self.led_at else replace(server, acked_revision=-1)
            for server in servers
        ]

    def reports(self) -> list[LoadReport]:
        """Return the reports on candidates that no decision has answered yet."""
        with reading(self._engine) as connection:
            return [report_from(row) for row in connection.execute(select(t.loads))]

    def sweep(self, *, forget_servers_s: float) -> int:
        """Remove what need not be kept, as `sweeping.sweep` says; return how many tombstones went."""
        hot_until = now_s(self._engine) - _FORGET_HOT_S
        with self._fenced() as write:
            return sweep(
                write.connection,
                self.leases.judged(servers_on(write.connection)),
                newest=write.last,
                forget_servers_s=forget_servers_s,
                hot_until=hot_until,
            )


def _announced(server: Server) -> tuple[str, int, int, bool]:
    """Return what a server wakes the operator for."""
    return server.server_id, server.acked_revision, server.report.prepared_revision, server.report.leaving
