"""One operator as a process, following a folder of manifests or a cluster."""

import gc
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import structlog

from tenantry.errors import RegistryUnavailable
from tenantry.registry import OperatorRegistry, migrate, open_engine
from tenantry_operator import folder as folders
from tenantry_operator.artifacts import Resolver
from tenantry_operator.controller import Controller
from tenantry_operator.folder import FolderSource
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.probes import Health, Probes
from tenantry_operator.s3 import S3Resolver
from tenantry_operator.settings import OperatorSettings

_REGISTRY_EVERY_S = 1.0
log = structlog.get_logger(__name__)


def run(folder: Path, settings: OperatorSettings, *, lifeline: int | None = None) -> None:
    """Keep the registry in step with a folder of manifests until SIGTERM or SIGINT.

    Args:
        lifeline: a pipe that closes when the process that started this one is gone; then stop.

    Raises:
        RegistryMismatch: the registry's URL, version or source is not usable.
        RegistryUnavailable: the registry did not answer at the start.
        LeadershipLost: another operator took over; nothing more was written.
    """
    stop = _stop_event(lifeline)
    folder = folder.absolute()
    health, metrics = Health(), OperatorMetrics()
    with _probes(settings, health, metrics):
        registry = _leading(settings, f"folder {folder}")
        metrics.leading.set(1)
        controller = Controller(registry, _resolver(settings), settings, metrics)
        health.controller = controller
        source = FolderSource(folder, registry.claims())
        _work(controller, lambda: folders.follow(source, folder, controller.submit, stop), stop)


def run_on_kubernetes(settings: OperatorSettings) -> None:
    """Keep the registry in step with the TenantModels of a cluster until SIGTERM or SIGINT.

    Raises:
        As `run`, and LeaseLost.
    """
    from tenantry_operator.election import Election  # noqa: PLC0415 - takes a second to import

    stop = _stop_event(None)
    _prepare_for_many()
    health, metrics = Health(), OperatorMetrics()
    with _probes(settings, health, metrics):
        if settings.lease is None:
            _follow_cluster(settings, stop, health, metrics, lambda: True)
            return
        health.standing_by = True
        election = Election(settings.lease, _identity(), stop)
        if election.won():
            _follow_cluster(settings, stop, health, metrics, election.holds)
            election.release()


def _follow_cluster(
    settings: OperatorSettings,
    stop: threading.Event,
    health: Health,
    metrics: OperatorMetrics,
    leads: Callable[[], bool],
) -> None:
    from tenantry_operator.cluster_process import ClusterSide  # noqa: PLC0415 - takes a second to import

    source = f"cluster {settings.namespace or '(all namespaces)'}"
    registry = _leading_at_last(settings, source, stop)
    if registry is None:
        return
    metrics.leading.set(1)
    side = ClusterSide(
        registry.claims(),
        leads=leads,
        resync_s=settings.resync_s,
        namespace=settings.namespace,
        metrics=metrics,
    )
    controller = Controller(registry, _resolver(settings), settings, metrics, side)
    health.controller, health.standing_by = controller, False
    _work(controller, lambda: side.run(controller.submit, stop), stop)


def _prepare_for_many() -> None:
    """Set the interpreter up for tens of thousands of objects that live as long as this process."""
    gc.freeze()
    gc.set_threshold(10_000, 10, 50)  # to look for garbage among them is mostly in vain
    # Else a thread that reads from a socket waits 5 ms for the controller to let go, each time.
    sys.setswitchinterval(0.0005)
    # The API server takes JSON 10,000 levels deep (Go's limit): one such object must not end us.
    sys.setrecursionlimit(20_000)


def _probes(
    settings: OperatorSettings, health: Health, metrics: OperatorMetrics
) -> AbstractContextManager[object]:
    if settings.probe_port is None:
        return nullcontext()
    return Probes(settings.probe_host, settings.probe_port, health, metrics)


def _identity() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def _leading_at_last(
    settings: OperatorSettings, source: str, stop: threading.Event
) -> OperatorRegistry | None:
    """As `_leading`, waiting for a registry that is not there yet; None: told to stop meanwhile."""
    told = False
    while not stop.is_set():
        try:
            return _leading(settings, source)
        except RegistryUnavailable as error:
            if not told:
                log.warning("waiting for the registry", error=str(error))
            told = True
            stop.wait(_REGISTRY_EVERY_S)
    return None


def _leading(settings: OperatorSettings, source: str) -> OperatorRegistry:
    engine = open_engine(settings.registry_url)
    migrate(engine)
    registry = OperatorRegistry(engine, _identity())
    epoch = registry.lead(source)
    log.info("leading", epoch=epoch, source=source, pid=os.getpid())
    return registry


def _resolver(settings: OperatorSettings) -> Resolver:
    s3 = S3Resolver(settings.s3_endpoint_url, connections=settings.resolve_threads)
    return Resolver(s3.resolve)


def _work(controller: Controller, source: Callable[[], None], stop: threading.Event) -> None:
    """Run the controller here and its source in a thread of its own; when either ends, both do."""
    failures: list[Exception] = []

    def until_it_ends() -> None:
        try:
            source()
        except Exception as error:
            failures.append(error)
        finally:
            stop.set()

    thread = threading.Thread(target=until_it_ends, name="source", daemon=True)
    thread.start()
    try:
        controller.run(stop)
    finally:
        stop.set()
        thread.join(15.0)
    if failures:
        raise failures[0]
    log.info("stopped")


def _stop_event(lifeline: int | None) -> threading.Event:
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    if lifeline is not None:
        threading.Thread(target=_until_closed, args=(lifeline, stop), daemon=True).start()
    return stop


def _until_closed(lifeline: int, stop: threading.Event) -> None:
    # Nobody ever writes: readable means that the other end is closed. Not a plain read, as another
    # process that shares the pipe may have made it one that does not block.
    select.select([lifeline], [], [])
    stop.set()
