"""What both processes of the operator share: stop signals, probes, leadership, and threads."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tenantry.errors import HistoryChanged, RegistryUnavailable
from tenantry.processes.once import once
from tenantry.processes.runtime import exit_within, run_async, when_closed
from tenantry.registry import OperatorRegistry, migrate, open_engine
from tenantry.stores.file_roots import FileRoots
from tenantry.tracing import opening
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.control.controller import Controller
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.probes import Health, Probes
from tenantry_operator.settings import OperatorSettings, Ui
from tenantry_operator.tracing import Changes
from tenantry_operator.ui import site
from tenantry_operator.ui.door import mode_of

if TYPE_CHECKING:
    from tenantry_operator.artifacts.s3 import S3Resolver

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5
_CHECK_S = 0.1
_FLUSH_S = 2.0  # for the last spans to reach their collector
_END_S = 15.0  # longer than a lookup in a store, or giving the Lease back


def probes(
    settings: OperatorSettings, health: Health, metrics: OperatorMetrics
) -> AbstractContextManager[object]:
    """Serve probes, metrics and the page, where that is on, during the block; where a port is set."""
    if settings.probe_port is None:
        return nullcontext()
    mode = mode_of(settings)
    page = None if mode is Ui.OFF else site.of_settings(settings, mode)
    return Probes(settings.probe_host, settings.probe_port, health, metrics, page)


@contextmanager
def traced(settings: OperatorSettings, *, writes_statuses: bool) -> Iterator[Changes]:
    """Make what traces changes, where that is on; after the block, send what is left.

    Args:
        writes_statuses: whether a change ends with the write of a status to an object.

    Raises:
        InvalidSetting: OpenTelemetry is not installed, or is configured to what Tenantry does not do.
    """
    tracing = opening.opened(settings.traces, "tenantry-operator", identity())
    if tracing is None:
        yield Changes()
        return
    try:
        yield Changes(tracing.sampler, writes_statuses=writes_statuses)
    finally:
        run_async(tracing.export.close(_FLUSH_S))


def identity() -> str:
    """Return the name of this process among its replicas."""
    return f"{socket.gethostname()}/{os.getpid()}"


def leading(settings: OperatorSettings, source: str, *, formerly: str = "") -> OperatorRegistry:
    """Take the lead, and return the registry.

    Args:
        source: what this operator follows.
        formerly: what an older release wrote for the same source.

    Raises:
        RegistryMismatch: it is not usable, or follows another source.
        RegistryUnavailable: it did not answer.
    """
    engine = open_engine(settings.registry_url)
    migrate(engine)
    registry = OperatorRegistry(engine, identity())
    epoch = registry.lead(source, formerly=formerly)
    log.info("leading", epoch=epoch, source=source, pid=os.getpid())
    return registry


def keep_leading(
    registry: OperatorRegistry, source: str, term: Callable[[threading.Event], None], stop: threading.Event
) -> None:
    """Work as the leader; where the registry lost commits, lead again and begin from its rows.

    Args:
        registry: led already.
        source: what this operator follows.
        term: works until the event that it is given is set.
        stop: ends all terms.

    Raises:
        LeadershipLost: another operator took over; nothing more was written.
        RegistryUnavailable: the registry did not answer when the first term began.
    """
    again = False
    while not stop.is_set():
        try:
            if again:
                log.info("leading again", epoch=registry.lead(source), source=source, pid=os.getpid())
            with _part_of(stop) as ends:
                term(ends)
        except HistoryChanged as error:
            log.warning("the registry lost commits", error=str(error))
            again = True
        except RegistryUnavailable as error:
            if not again:
                raise
            log.warning("waiting for the registry", error=str(error))
            stop.wait(_AGAIN_S)
        else:
            return


@contextmanager
def _part_of(stop: threading.Event) -> Iterator[threading.Event]:
    """Make an event for a part of this process's life: it is set with `stop`, and when the block ends."""
    ends = threading.Event()

    def follow() -> None:
        while not ends.is_set():
            if stop.wait(_CHECK_S):
                ends.set()

    threading.Thread(target=follow, name="term", daemon=True).start()
    try:
        yield ends
    finally:
        ends.set()


def resolver(settings: OperatorSettings, *, beside: Path | None = None) -> Resolver:
    """Make the resolver of artifacts.

    Args:
        beside: the folder of the manifests; artifacts may lie in it and beside it where no setting says
            otherwise. None: nowhere.
    """

    def make() -> "S3Resolver":
        from tenantry_operator.artifacts.s3 import S3Resolver  # noqa: PLC0415 - a folder needs no boto3

        return S3Resolver(settings.s3_endpoint_url, connections=settings.resolve_threads)

    s3 = once(make)
    default = [] if beside is None else [beside.parent]
    roots = FileRoots(default) if settings.file_roots is None else FileRoots.parse(settings.file_roots)
    return Resolver(
        lambda source: s3().resolve(source),
        roots,
        max_bytes=settings.max_artifact_bytes,
        timeout_s=settings.resolve_timeout_s,
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
