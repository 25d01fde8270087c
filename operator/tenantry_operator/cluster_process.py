"""One operator as a process that follows a cluster. Takes a second to import, for its two clients."""

import gc
import sys
import threading
from collections.abc import Callable

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.processes.logs import OnChange
from tenantry.processes.runtime import run_async
from tenantry.registry import OperatorRegistry
from tenantry_operator import runtime
from tenantry_operator.cluster.client import Cluster, ClusterError
from tenantry_operator.cluster.election import Election
from tenantry_operator.cluster.policies import PolicyWatch
from tenantry_operator.cluster.source import ClusterSource
from tenantry_operator.cluster.statefulset import ScaleWatch
from tenantry_operator.control.controller import Controller
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.policies.rules import Policies
from tenantry_operator.probes import Health
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

_REGISTRY_EVERY_S = 1.0


def run(settings: OperatorSettings) -> None:
    """Keep the registry in step with the TenantModels of a cluster until SIGTERM or SIGINT.

    Raises:
        RegistryMismatch: the registry's URL, version or source is not usable.
        LeadershipLost: another operator took over; nothing more was written.
        LeaseLost: another one may have.
        ClusterError: no API server is configured.
    """
    run_async(Cluster.configured())  # before this process takes the lead from one that works
    stop = runtime.stop_event(None)
    _prepare_for_many()
    with runtime.traced(settings, writes_statuses=True) as changes:
        health, metrics = Health(), OperatorMetrics(changes)
        with runtime.probes(settings, health, metrics):
            _lead_cluster(settings, stop, health, metrics)


def _lead_cluster(
    settings: OperatorSettings, stop: threading.Event, health: Health, metrics: OperatorMetrics
) -> None:
    if settings.lease is None:
        _follow_cluster(settings, stop, health, metrics, _always)
        return
    election = Election(settings.lease, runtime.identity(), stop)
    health.standing_by = election.problem
    if election.won():
        try:
            _follow_cluster(settings, stop, health, metrics, election.holds)
        finally:
            election.release()
        election.check()


def _always() -> bool:
    """Return True: the only replica leads."""
    return True


def _follow_cluster(
    settings: OperatorSettings,
    stop: threading.Event,
    health: Health,
    metrics: OperatorMetrics,
    leads: Callable[[], bool],
) -> None:
    led = _leading_at_last(settings, stop)
    if led is None:
        log.info("stopped")
        return
    registry, followed = led
    metrics.leading.set(1)

    def term(ends: threading.Event) -> None:
        scale = None if settings.statefulset is None else ScaleWatch(settings.statefulset)

        def govern(found: Policies) -> None:  # the source is made before the controller
            controller.govern(found)

        policies = PolicyWatch(govern)
        source = ClusterSource(
            registry.claims(),
            leads=leads,
            resync_s=settings.resync_s,
            namespace=settings.namespace,
            metrics=metrics,
            beside=[policies.run] if scale is None else [policies.run, scale.run],
        )
        controller = Controller(
            registry,
            runtime.resolver(settings),
            settings,
            metrics,
            source,
            is_leaving=(lambda _: False) if scale is None else scale.is_leaving,
            policies=None,
        )
        health.controller, health.standing_by = controller, None
        runtime.work(controller, lambda: source.run(controller.submit, ends), ends)

    runtime.keep_leading(registry, followed, term, stop)


def _prepare_for_many() -> None:
    """Set the interpreter up for tens of thousands of objects that live as long as this process."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)  # looking for garbage among them is mostly in vain
    # Else a thread that reads from a socket waits 5 ms for the controller to let go, each time.
    sys.setswitchinterval(0.0005)
    # The API server takes JSON 10,000 levels deep (Go's limit): one such object must not end us.
    sys.setrecursionlimit(20_000)


def _leading_at_last(
    settings: OperatorSettings, stop: threading.Event
) -> tuple[OperatorRegistry, str] | None:
    """As `runtime.leading`, waiting for the cluster and for a registry that is not there yet.

    Returns:
        the registry, and what this operator follows in its words; None: told to stop meanwhile.
    """
    where = settings.namespace or "(all namespaces)"
    problem = OnChange(log)
    while not stop.is_set():
        try:
            # Two clusters may both have an operator of all namespaces: by its UID each is itself.
            followed = f"cluster {run_async(_uid(settings.namespace))} {where}"
            return runtime.leading(settings, followed, formerly=f"cluster {where}"), followed
        except RegistryUnavailable as error:
            problem.warning("waiting for the registry", error=str(error))
        except ClusterError as error:
            problem.warning("waiting for the API server", error=str(error))
        stop.wait(_REGISTRY_EVERY_S)
    return None


async def _uid(namespace: str | None) -> str:
    async with Cluster(namespace) as cluster:
        return await cluster.uid()
