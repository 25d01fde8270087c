"""The first few tenants for Prometheus, as `tenantry_tenant_*{user_id="…"}`.

Shown are the first K by requests, the first K by errors and the first K by CPU of the last one to two
hours: at most 3 K user ids at a time. While a tenant stays among them, its counters only grow. One that
comes back starts at what it did in those hours, which Prometheus takes for a restart.

Series, each with the label `user_id`:

- `tenantry_tenant_requests_total`, errors included;
- `tenantry_tenant_errors_total`, also with `kind`: client, server, timeout or limited;
- `tenantry_tenant_cpu_seconds_total`: of the model;
- `tenantry_tenant_bytes`: of the model in memory here, 0 where it is not;
- `tenantry_tenant_latency_seconds`, also with `quantile` 0.5 and 0.99: a gauge, over those hours.
"""

import asyncio
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantry_server.accounts.account import Account, quantile_s
from tenantry_server.accounts.accounts import Accounts, By, Period
from tenantry_server.accounts.memory_use import Sizes

_KINDS = {
    "client": "client_errors",
    "server": "server_errors",
    "timeout": "timeouts",
    "limited": "limited",
}
_QUANTILES = (0.5, 0.99)


class ExportedTenants(Collector):
    """A collector of the tenants that `refresh` has chosen last.

    Args:
        accounts: of all tenants.
        sizes: their bytes in memory.
        most: K; 0: none is shown.
    """

    def __init__(self, accounts: Accounts, sizes: Sizes, most: int) -> None:
        self._accounts = accounts
        self._sizes = sizes
        self._most = most
        self._shown: Mapping[str, int] = {}  # user id -> bytes in memory
        self._earlier: dict[str, Account] = {}  # of periods that the accounts have forgotten
        accounts.forgotten = self._keep

    async def refresh(self) -> None:
        """Choose again who is shown, in a thread; call it before each `collect`."""
        if not self._most:
            return
        self._shown = await asyncio.to_thread(self._choose)
        self._earlier = {
            user_id: account for user_id, account in self._earlier.items() if user_id in self._shown
        }

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; on the event loop."""
        requests = CounterMetricFamily(
            "tenantry_tenant_requests",
            "Requests of the tenants that ask most, fail most or compute most.",
            labels=["user_id"],
        )
        errors = CounterMetricFamily(
            "tenantry_tenant_errors", "Of these requests, those that failed.", labels=["user_id", "kind"]
        )
        cpu = CounterMetricFamily(
            "tenantry_tenant_cpu_seconds", "CPU seconds of their models.", labels=["user_id"]
        )
        held = GaugeMetricFamily(
            "tenantry_tenant_bytes", "Bytes of their models in memory.", labels=["user_id"]
        )
        latency = GaugeMetricFamily(
            "tenantry_tenant_latency_seconds",
            "Estimated quantiles of their latency over the last one to two hours.",
            labels=["user_id", "quantile"],
        )
        for user_id, size_bytes in sorted(self._shown.items()):
            lately = self._accounts.of_user(user_id)
            for share in _QUANTILES:
                estimate_s = quantile_s(lately.latencies, share)
                if estimate_s is not None:
                    latency.add_metric([user_id, str(share)], estimate_s)
            if user_id in self._earlier:
                lately.add(self._earlier[user_id])
            requests.add_metric([user_id], lately.requests)
            for kind, name in _KINDS.items():
                errors.add_metric([user_id, kind], getattr(lately, name))
            cpu.add_metric([user_id], lately.cpu_s)
            held.add_metric([user_id], size_bytes)
        yield from (requests, errors, cpu, held, latency)

    def _choose(self) -> Mapping[str, int]:
        chosen = {
            user_id
            for by in (By.REQUESTS, By.ERRORS, By.CPU)
            for user_id, _ in self._accounts.heaviest(by, self._most)
        }
        sizes = self._sizes() if chosen else {}
        return {user_id: sizes.get(user_id, 0) for user_id in chosen}

    def _keep(self, forgotten: Period) -> None:
        """Keep what those who are shown did in a period, so that their counters go on."""
        for user_id in self._shown:
            done = forgotten.tenants.get(user_id)
            if done is not None:
                self._earlier.setdefault(user_id, Account()).add(done)
