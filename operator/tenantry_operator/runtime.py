"""What both processes of the operator share: stop signals, probes, leadership, and threads."""

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import structlog

from tenantry.registry import OperatorRegistry, migrate, open_engine
from tenantry.runtime import exit_within, when_closed
from tenantry.stores.file_roots import FileRoots
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.artifacts.s3 import S3Resolver
from tenantry_operator.control.controller import Controller
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.probes import Health, Probes
from tenantry_operator.settings import OperatorSettings

log = structlog.get_logger(__name__)

_END_S = 15.0  # longer than a lookup in a store, or giving the Lease back


def probes(
    settings: OperatorSettings, health: Health, metrics: OperatorMetrics
) -> AbstractContextManager[object]:
    """Serve probes and metrics during the block, where a port is set."""
    if settings.probe_port is None:
        return nullcontext()
    return Probes(settings.probe_host, settings.probe_port, health, metrics)


def identity() -> str:
    """Return the name of this process among its replicas."""
    return f"{socket.gethostname()}/{os.getpid()}"


def leading(settings: OperatorSettings, source: str) -> OperatorRegistry:
    """Take the lead, and return the registry.

    Raises:
        RegistryMismatch: it is not usable, or follows another source.
        RegistryUnavailable: it did not answer.
    """
    engine = open_engine(settings.registry_url)
    migrate(engine)
    registry = OperatorRegistry(engine, identity())
    epoch = registry.lead(source)
    log.info("leading", epoch=epoch, source=source, pid=os.getpid())
    return registry


def resolver(settings: OperatorSettings, *, beside: Path | None = None) -> Resolver:
    """Make the resolver of artifacts.

    Args:
        beside: the folder of the manifests; artifacts may lie in it and beside it where no setting says
            otherwise. None: nowhere.
    """
    s3 = S3Resolver(settings.s3_endpoint_url, connections=settings.resolve_threads)
    default = [] if beside is None else [beside.parent]
    roots = FileRoots(default) if settings.file_roots is None else FileRoots.parse(settings.file_roots)
    return Resolver(
        s3.resolve, roots, max_bytes=settings.max_artifact_bytes, timeout_s=settings.resolve_timeout_s
    )


def work(controller: Controller, source: Callable[[], None], stop: threading.Event) -> None:
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
    exit_within(_END_S)


def stop_event(lifeline: int | None) -> threading.Event:
    """Make an event that SIGTERM, SIGINT, and the end of `lifeline` set."""
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    if lifeline is not None:
        when_closed(lifeline, stop.set)
    return stop
