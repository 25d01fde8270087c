"""Prometheus metrics of one server; only a few tenants are labels, so the number of series is bounded."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantry_server.accounts.exported import ExportedTenants
from tenantry_server.artifacts.disk_cache import DiskCache
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.peers.forwarder import Forwarder
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.workers import usage
from tenantry_server.workers.pool import Pool

_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Reading(NamedTuple):
    """One more gauge of /metrics.

    Attributes:
        name: what follows ``tenantry_``.
        words: what it means, for people.
        read: returns its value now.
    """

    name: str
    words: str
    read: Callable[[], float]


class ServerMetrics:
    """What /metrics shows.

    Args:
        models: its cache is shown where it is a CachedModelRepository.
        disk: the disk cache, where there is one.
        forwarder: passes requests on to other servers, where there is one.
        pool: of the processes that run models, where there is one.
    """

    def __init__(
        self,
        models: ModelRepository,
        disk: DiskCache | None = None,
        forwarder: Forwarder | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._tenants: ExportedTenants | None = None
        self._requests = _Requests()
        self.answered = self._requests.answered
        self.rows = self._requests.rows
        self._registry.register(self._requests)
        if isinstance(models, CachedModelRepository):
            self._registry.register(_CacheCollector(models))
        if disk is not None:
            self._registry.register(_DiskCollector(disk))
        if forwarder is not None:
            self._registry.register(_ForwardCollector(forwarder))
        if pool is not None:
            self._registry.register(_WorkersCollector(pool))
        ProcessCollector(registry=self._registry)

    def show(self, *readings: Reading) -> None:
        """Show these too."""
        for reading in readings:
            self._registry.register(_Gauge(reading))

    def show_plane(self, plane: DataPlane) -> None:
        """Show what a data plane knows of itself."""
        self.show(
            Reading("hung_loads", "Loads that take longer than they may.", lambda: plane.models.hung),
            Reading("hung_predictions", "The same of predictions.", lambda: plane.hung),
            Reading("busy_ratio", "Busy share of this server's core, 0 to 1.", lambda: plane.meter.load),
        )
        for limit in plane.quotas.refused:
            words = f"Requests refused by their user's limit: {limit.replace('_', ' ')}."
            read = partial(plane.quotas.refused.__getitem__, limit)
            self.show(Reading(f"refused_by_{limit}", words, read))

    def show_tenants(self, tenants: ExportedTenants) -> None:
        """Show the first few tenants, too."""
        self._tenants = tenants
        self._registry.register(tenants)

    async def fresh(self) -> bytes:
        """Choose the tenants that are shown again, and return `text`."""
        if self._tenants is not None:
            await self._tenants.refresh()
        return self.text()

    def text(self) -> bytes:
        """Prometheus's text format."""
        return generate_latest(self._registry)


class _WorkersCollector(Collector):
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        workers = self._pool.workers
        yield GaugeMetricFamily("tenantry_workers", "Processes that run models.", len(workers))
        yield GaugeMetricFamily(
            "tenantry_worker_resident_bytes",
            "Resident memory of these, added up; they share a part of it.",
            sum(usage.resident_bytes(worker.pid) for worker in workers),
        )
        yield GaugeMetricFamily(
            "tenantry_worker_queue", "Calls that wait for one.", sum(worker.waiting for worker in workers)
        )
        yield GaugeMetricFamily(
            "tenantry_struck_models",
            "Models that ended a worker, or overran one, since the server started.",
            len(self._pool.strikes.described()),
        )
        ended = CounterMetricFamily(
            "tenantry_workers_ended",
            "Workers that ended in the middle of a call, were ended because a call took too long, or were "
            "not needed as they were.",
            labels=["cause"],
        )
        for cause, count in self._pool.restarts.items():
            ended.add_metric([cause], count)
        yield ended


class _Gauge(Collector):
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Metric]:
        name, words, read = self._reading
        yield GaugeMetricFamily(f"tenantry_{name}", words, read())


class _Requests(Collector):
    """Plain counters for the event loop's thread: the library's take 3 us a request, these 0.4 us."""

    def __init__(self) -> None:
        self._by_code: dict[int, int] = {}
        self._by_bucket = [0] * (len(_BUCKETS_S) + 1)
        self._sum_s = 0.0
        self._rows_by_code: dict[int, int] = {}

    def rows(self, status: int, count: int) -> None:
        """Count rows of requests for many users."""
        self._rows_by_code[status] = self._rows_by_code.get(status, 0) + count

    def answered(self, status: int, seconds: float) -> None:
        """Count one prediction."""
        self._by_code[status] = self._by_code.get(status, 0) + 1
        self._by_bucket[bisect_left(_BUCKETS_S, seconds)] += 1
        self._sum_s += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("tenantry_requests", "Requests for predictions.", labels=["code"])
        for code, count in sorted(self._by_code.items()):
            requests.add_metric([str(code)], count)
        yield requests
        rows = CounterMetricFamily(
            "tenantry_batch_rows",
            "Rows of requests for many users, each by its own status.",
            labels=["code"],
        )
        for code, count in sorted(self._rows_by_code.items()):
            rows.add_metric([str(code)], count)
        yield rows
        up_to = [*map(str, _BUCKETS_S), "+Inf"]
        yield HistogramMetricFamily(
            "tenantry_request_seconds",
            "Time from a whole request head to the answer.",
            buckets=list(zip(up_to, accumulate(self._by_bucket), strict=True)),
            sum_value=self._sum_s,
        )


class _CacheCollector(Collector):
    def __init__(self, models: CachedModelRepository) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        counts = self._models.counts
        for name, words, value in (
            ("hits", "Models found in memory.", counts.hits),
            ("misses", "Models that a request had to wait for.", counts.misses),
            ("cold_loads", "Models that were read and loaded.", counts.loads),
            ("load_failures", "Loads that failed.", counts.failures),
            ("evictions", "Models that were dropped to make room.", counts.evictions),
        ):
            yield CounterMetricFamily(f"tenantry_cache_{name}", words, value)
        yield GaugeMetricFamily(
            "tenantry_cache_bytes", "Measured size of the models in memory.", self._models.used_bytes
        )
        yield GaugeMetricFamily(
            "tenantry_cache_capacity_bytes", "Bound of the above.", self._models.capacity_bytes
        )
        yield GaugeMetricFamily("tenantry_cache_models", "Number of models in memory.", len(self._models))
        near = self._models.near
        if near is not None:
            yield GaugeMetricFamily(
                "tenantry_near_models", "Copies of models that other servers hold.", len(near)
            )
            yield GaugeMetricFamily("tenantry_near_bytes", "Measured size of these.", near.used_bytes)


class _ForwardCollector(Collector):
    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    def collect(self) -> Iterator[Metric]:
        forwarded = CounterMetricFamily(
            "tenantry_forwarded",
            "Requests that another server should answer: answered by the first one asked, failed over "
            "to another one, or answered by this server in the end.",
            labels=["result"],
        )
        for result, count in self._forwarder.counts.items():
            forwarded.add_metric([result], count)
        yield forwarded
        yield GaugeMetricFamily(
            "tenantry_peers", "Other servers whose lease holds.", self._forwarder.directory.live
        )
        yield GaugeMetricFamily(
            "tenantry_peers_down",
            "Servers whose lease holds and that don't answer this one.",
            self._forwarder.directory.down,
        )


class _DiskCollector(Collector):
    def __init__(self, disk: DiskCache) -> None:
        self._disk = disk

    def collect(self) -> Iterator[Metric]:
        counts = self._disk.counts
        for name, words, value in (
            ("hits", "Artifacts that were read from the disk.", counts.hits),
            ("misses", "Artifacts that were read from their source.", counts.misses),
            ("damaged", "Files whose digest was wrong; they were removed.", counts.damaged),
            ("evictions", "Files removed to make room.", counts.evictions),
            ("failures", "Reads and writes that the disk refused.", counts.failures),
        ):
            yield CounterMetricFamily(f"tenantry_disk_{name}", words, value)
        yield GaugeMetricFamily(
            "tenantry_disk_bytes",
            "Bytes of all servers in the folder, when this one checked last.",
            self._disk.used_bytes,
        )
        yield GaugeMetricFamily(
            "tenantry_disk_capacity_bytes", "Bound of the above.", self._disk.capacity_bytes
        )
