"""One operator as a process, following a folder of manifests."""

import os
import signal
import socket
import threading
from pathlib import Path

import structlog

from tenantry.registry import OperatorRegistry, migrate, open_engine
from tenantry_operator import folder as folders
from tenantry_operator.artifacts import Resolver
from tenantry_operator.controller import Controller
from tenantry_operator.folder import FolderSource
from tenantry_operator.s3 import S3Resolver
from tenantry_operator.settings import OperatorSettings

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
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    if lifeline is not None:
        threading.Thread(target=_until_closed, args=(lifeline, stop), daemon=True).start()
    folder = folder.absolute()
    engine = open_engine(settings.registry_url)
    migrate(engine)
    registry = OperatorRegistry(engine, f"{socket.gethostname()}/{os.getpid()}")
    epoch = registry.lead(f"folder {folder}")
    log.info("leading", epoch=epoch, folder=str(folder), pid=os.getpid())
    resolve = Resolver(S3Resolver(settings.s3_endpoint_url, connections=settings.resolve_threads).resolve)
    controller = Controller(registry, resolve, settings)
    source = FolderSource(folder, registry.claims())
    watching = threading.Thread(
        target=folders.follow, args=(source, folder, controller.submit, stop), daemon=True
    )
    watching.start()
    try:
        controller.run(stop)
    finally:
        stop.set()
    log.info("stopped")


def _until_closed(lifeline: int, stop: threading.Event) -> None:
    os.read(lifeline, 1)  # nobody ever writes: it returns when the other end is closed
    stop.set()
