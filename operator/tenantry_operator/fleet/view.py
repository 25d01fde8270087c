"""The model servers as the operator sees them: which live, what they report, and what they own."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

import structlog

from tenantry.registry import Fault, FaultState, LoadReport, LoadState, OperatorRegistry, Server
from tenantry.trust import tls
from tenantry.trust.challenges import Challenges, ask
from tenantry_operator.fleet.busy_users import Spreading
from tenantry_operator.fleet.shard_keeper import ShardKeeper
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

_FAULTS_EVERY_S = 1.0
_BUSY_EVERY_S = 1.0  # as often as a server that is asked says how busy it is


class Fleet:
    """Observes the servers, and keeps shards and busy users where they belong.

    Args:
        registry: led by this operator.
        settings: of the operator.
        metrics: of the operator.
        weigh: bytes of each shard's tenants.
        is_leaving: whether a server is about to go that does not know it yet.

    Attributes:
        live: the servers whose lease holds.
        faults: by user, the models that servers can't load, the oldest first.
    """

    def __init__(
        self,
        registry: OperatorRegistry,
        settings: OperatorSettings,
        metrics: OperatorMetrics,
        weigh: Callable[[], Sequence[int]],
        is_leaving: Callable[[str], bool],
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._shards = ShardKeeper(registry, settings, metrics, weigh, is_leaving)
        self._challenges = Challenges(
            settings.fleet_secrets(), ask=partial(ask, tls=tls.of_settings(settings))
        )
        self._spreading = Spreading(registry.spread())
        self._names: frozenset[str] | None = None
        self.live: Sequence[Server] = ()
        self.faults: Mapping[str, Sequence[Fault]] = {}
        self._fault_book = registry.faults()
        self._faults_due_s = float("-inf")

    def observe(self, now_s: float) -> bool:
        """Observe the servers, and reassign shards and busy users where that is due.

        Returns:
            whether the last live server is gone: what waits for a server now waits for another one.

        Raises:
            LeadershipLost, RegistryUnavailable: call again.
        """
        servers = self._registry.servers()
        self.live = [server for server in servers if server.live]
        proven = self._challenges.proven(servers)
        self._shards.observe(proven, now_s)
        self._spread([server for server in proven if server.live], now_s)
        names = frozenset(server.server_id for server in self.live)
        if names == self._names:
            return False
        gone = sorted((self._names or frozenset()) - names)
        log.info("servers", live=sorted(names), **({"gone": gone} if gone else {}))
        self._names = names
        self._metrics.servers.set(len(names))
        return not names

    def observe_faults(self, now_s: float) -> Collection[str]:
        """Observe which models in force servers can't load, about once a second.

        Returns:
            the users about whom servers say something else now.
        """
        if now_s < self._faults_due_s:
            return ()
        news = self._fault_book.news()
        self._faults_due_s = now_s + _FAULTS_EVERY_S
        if news is None:
            return ()
        faults: dict[str, list[Fault]] = {}
        for fault in news:
            faults.setdefault(fault.user_id, []).append(fault)
        before, self.faults = self.faults, faults
        broken = {fault.user_id for fault in news if fault.state is not FaultState.DOUBTED}
        self._metrics.degraded.set(len(broken))
        return {user for user in before.keys() | faults.keys() if before.get(user) != faults.get(user)}

    @property
    def quiet_s(self) -> float:
        """For how long nothing comes due, where no server rings; 0: shards are on the move."""
        if self._shards.unsettled or self._challenges.open:
            return 0.0
        leases_s = min((server.lease_left_s for server in self.live), default=math.inf)
        idle = all(server.report.is_idle for server in self.live)
        return leases_s if idle else min(leases_s, _BUSY_EVERY_S)

    @property
    def acked_revision(self) -> int:
        """The revision that every live server has put in force; -1 where none lives."""
        return min((server.acked_revision for server in self.live), default=-1)

    def reports(self) -> dict[str, LoadReport]:
        """Return the best report on each user's candidate that no decision has answered yet."""
        best: dict[str, LoadReport] = {}
        for report in self._registry.reports():
            known = best.get(report.user_id)
            if known is None or report.state is LoadState.LOADED:
                best[report.user_id] = report
        return best

    def restore_shards(self) -> None:
        """Put back rows of the shard map that were edited by hand."""
        self._shards.restore()

    def close(self) -> None:
        """Ask no server any more."""
        self._challenges.close()

    def _spread(self, live: Sequence[Server], now_s: float) -> None:
        changes = self._spreading.observe(live, now_s)
        if changes:
            self._registry.set_spread(changes)
            self._spreading.written(changes)
            log.info("busy users", servers=changes)
        self._metrics.spread_users.set(len(self._spreading))
