"""Prometheus metrics of the operator; nothing is labelled by tenant, so their number is bounded."""

import re
from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from tenantry.manifest.status import State, Status
from tenantry_operator.tracing import Changes

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_READY_S = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)
_PREFIX = "tenantry_operator"
_REASON = re.compile("[A-Z][A-Za-z]{0,63}")
_MOST_REASONS = 100  # servers report them, and a broken one must not make series without end
_OTHER_REASON = "Other"


class OperatorMetrics:
    """What /metrics shows, and the traces of changes; written from several threads.

    Args:
        changes: traces of changes; None: nothing is traced.

    Attributes:
        changes: as given.
        leading: whether this replica leads.
        tenants: TenantModels by state.
        unready: those that are not Ready, by the reason of their condition.
        servers: whose lease holds.
        shards_moving: shards with a next owner.
        shard_moves: shards that went from one server to another.
        rebalance_pending: 1 while servers came or went and the map was not levelled since.
        spread_users: whose models are on several servers, as one is not enough by what was measured.
        degraded: users whose model a server can't load any more.
        registry_up: whether the registry answered last time.
        not_removed: TenantModels that vanished, so many at once that a person has to confirm it.
        decisions: made by the reconciler.
        undecided: TenantModels that wait for a decision.
        ready_s: from the moment when a new spec was seen to Ready.
        listed: full listings that came through.
        status_writes: by result: written, conflict, gone, failed.
        status_queue: objects that may need a write.
    """

    def __init__(self, changes: Changes | None = None) -> None:
        self.changes = changes or Changes()
        self._all = CollectorRegistry()
        self.leading = self._gauge("leading", "1 on the replica that leads.")
        self.tenants = Gauge(
            f"{_PREFIX}_tenantmodels", "TenantModels by state.", ["state"], registry=self._all
        )
        for state in State:
            self.tenants.labels(state.value)
        self.unready = Gauge(
            f"{_PREFIX}_unready", "TenantModels that are not Ready.", ["reason"], registry=self._all
        )
        self._reasons: set[str] = set()
        self.servers = self._gauge("servers", "Model servers whose lease holds.")
        self._shards = self._by_server("shards", "Shards that a server answers for.")
        self._bytes = self._by_server("assigned_bytes", "Bytes of the models on a server's shards.")
        self.shards_moving = self._gauge("shards_moving", "Shards that are being handed over.")
        self.shard_moves = self._counter("shard_moves", "Shards that changed hands.")
        self.rebalance_pending = self._gauge(
            "rebalance_pending", "1 while shards may move soon, as servers came or went."
        )
        self.spread_users = self._gauge("spread_users", "Users that are too busy for one server.")
        self.degraded = self._gauge("degraded", "Users whose model a server can't load any more.")
        self.registry_up = self._gauge("registry_up", "1 while the registry answers.")
        self.not_removed = self._gauge(
            "not_removed", "TenantModels that vanished, too many at once to be removed unconfirmed."
        )
        self.decisions = self._counter("decisions", "Decisions about one TenantModel.")
        self.undecided = self._gauge("undecided", "TenantModels that wait for a decision.")
        self.ready_s = Histogram(
            f"{_PREFIX}_ready_seconds",
            "From a new spec's arrival here to Ready.",
            buckets=_READY_S,
            registry=self._all,
        )
        self.listed = self._counter("full_listings", "Full listings that came through.")
        self.status_writes = Counter(
            f"{_PREFIX}_status_writes", "Status writes by result.", ["result"], registry=self._all
        )
        self.status_queue = self._gauge("status_queue", "Objects that may need a status write.")
        ProcessCollector(registry=self._all)

    def moved(self, before: Status | None, after: Status | None) -> None:
        """Count a TenantModel under its new status; None: it is new, or gone."""
        for status, step in ((before, -1), (after, 1)):
            if status is None:
                continue
            self.tenants.labels(status.state.value).inc(step)
            if status.state is not State.READY:
                self.unready.labels(self._reason(status.reason)).inc(step)

    def _reason(self, reason: str) -> str:
        """Return the label of a reason: itself, as long as there are not too many."""
        if reason not in self._reasons:
            if len(self._reasons) >= _MOST_REASONS or not _REASON.fullmatch(reason):
                return _OTHER_REASON
            self._reasons.add(reason)
        return reason

    def held(self, shards: Mapping[str, int], assigned_bytes: Mapping[str, int]) -> None:
        """Show what each server holds, and forget the other servers.

        Args:
            assigned_bytes: by server; names every server that is to be shown.
        """
        for gauge in (self._shards, self._bytes):
            for (server_id,) in {
                tuple(each.labels.values()) for m in gauge.collect() for each in m.samples
            }:
                if server_id not in assigned_bytes:
                    gauge.remove(server_id)
        for server_id, count in assigned_bytes.items():
            self._shards.labels(server_id).set(shards.get(server_id, 0))
            self._bytes.labels(server_id).set(count)

    def text(self) -> bytes:
        """Prometheus's text format."""
        return generate_latest(self._all)

    def _by_server(self, name: str, words: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", words, ["server"], registry=self._all)

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", words, registry=self._all)

    def _counter(self, name: str, words: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", words, registry=self._all)
