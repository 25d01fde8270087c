"""Follows a folder of manifests: publishes a listing at the start and after every change."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
import watchfiles

from tenantry.processes.logs import OnChange
from tenantry_operator.declared import Listing
from tenantry_operator.folder.source import FolderSource
from tenantry_operator.folder.tree import SETTLE_S

log = structlog.get_logger(__name__)

_SCAN_EVERY_S = 2.0  # network file systems report no change


def follow(
    source: FolderSource,
    folder: Path,
    publish: Callable[[Listing], None],
    stop: threading.Event,
) -> None:
    """Publish a listing now and after every change, until stopped."""
    problem = OnChange(log)
    while not stop.is_set():
        try:
            for _ in _moments(source, folder, stop):
                publish(source.scan())
                problem.over()
        except OSError as error:
            problem.error(
                "can't read the folder of manifests; every tenant stays unchanged",
                folder=str(folder),
                error=str(error),
            )
            stop.wait(1.0)
        except Exception:
            # A fault of ours: without its source, the operator would look healthy and be deaf.
            problem.error(
                "reading the folder of manifests failed; every tenant stays unchanged", exc_info=True
            )
            stop.wait(1.0)


def _moments(source: FolderSource, folder: Path, stop: threading.Event) -> Iterator[None]:
    """Yield when to scan: now, after a change, while a file is not settled, and every two seconds."""
    yield
    scanned_s = time.monotonic()
    for changes in watchfiles.watch(
        folder,
        watch_filter=None,
        debounce=200,
        step=20,
        rust_timeout=int(SETTLE_S * 1000),
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
    ):
        if changes or not source.settled or time.monotonic() - scanned_s >= _SCAN_EVERY_S:
            yield
            scanned_s = time.monotonic()
