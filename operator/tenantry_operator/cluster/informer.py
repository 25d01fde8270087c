"""The only module that imports kopf: an informer that hands over the newest body of each TenantModel.

kopf stays in touch with an API server well, through restarts, expired watches and relists. Nothing else
of it is used: its change-detecting handlers would write to each object two or three times.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from tenantry.manifest.spec import API_GROUP, PLURAL, VERSION
from tenantry.processes.runtime import run_async

Hand = Callable[[Mapping[str, Any], bool], None]
"""Takes a body, and whether it was deleted; must not block."""


def run(hand: Hand, relisted: Callable[[], None], stop: threading.Event, *, namespace: str | None) -> None:
    """Watch until stopped; call it in a thread of its own, as kopf takes over the loop that it runs in.

    Args:
        hand: called in that thread for each event; a deletion missed while the watch was down never comes.
        relisted: called for each object of a listing, with which a watch begins: some may be missed.
        namespace: to watch; None: all.
    """
    logging.getLogger("kopf").setLevel(logging.WARNING)  # it logs every event at info
    logging.getLogger("kopf._core.reactor.running").addFilter(_not_about_signals)
    registry = kopf.OperatorRegistry()

    @kopf.on.event(API_GROUP, VERSION, PLURAL, registry=registry)
    async def tenant_model_seen(event: kopf.RawEvent, **_: Any) -> None:
        if event["type"] is None:
            relisted()
        hand(event["object"], event["type"] == "DELETED")

    @kopf.on.login(registry=registry)
    def as_kubectl_does(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    async def until_stopped() -> None:
        # Not `stop` itself: kopf would wait for it in a thread, and so could not end by itself, as it
        # does where the CRD is deleted.
        stopped = asyncio.Event()

        async def set_stopped() -> None:
            while not stop.is_set():  # noqa: ASYNC110 - another thread sets it
                await asyncio.sleep(0.2)
            stopped.set()

        stopping = asyncio.create_task(set_stopped())
        try:
            await kopf.operator(
                registry=registry,
                settings=_settings(),
                standalone=True,
                memo=(),  # else it keeps an empty one for each object
                clusterwide=namespace is None,
                namespaces=[] if namespace is None else [namespace],
                stop_flag=stopped,
            )
        finally:
            stopping.cancel()

    run_async(until_stopped())


def _not_about_signals(record: logging.LogRecord) -> bool:
    """Drop its warning that signals don't reach it: in a thread of its own they should not."""
    return "OS signals" not in record.getMessage()


class _Nothing(kopf.DiffBaseStorage):
    """Keeps no former state of objects: copies of each body are a quarter of kopf's work."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return


def _settings() -> kopf.OperatorSettings:
    """Return settings measured with 10,000 objects; a worker holds its slot for idle_timeout."""
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = _Nothing()
    settings.persistence.progress_storage = kopf.StatusProgressStorage()  # unused, and the quickest
    settings.scanning.disabled = True  # else it lists and watches all CRDs, or all namespaces
    settings.posting.enabled = False  # no Kubernetes events: status and logs say everything
    settings.queueing.worker_limit = 500
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    return settings
