"""The only module that imports kopf: an informer that hands over the newest body of each TenantModel.

kopf is good at staying in touch with an API server, through restarts, expired watches and relists.
Everything else of it is left alone: its change-detecting handlers would write to each object two or
three times.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from tenantry.spec import API_GROUP
from tenantry_operator.cluster import PLURAL, VERSION

Hand = Callable[[Mapping[str, Any], bool], None]
"""Takes a body, and whether it was deleted; must not block."""


def run(hand: Hand, stop: threading.Event, *, namespace: str | None) -> None:
    """Watch until stopped; call it in a thread of its own, as kopf takes over the loop that it runs in.

    Args:
        hand: called in that thread for each event; a deletion missed while the watch was down never comes.
        namespace: to watch; None: all.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.event(API_GROUP, VERSION, PLURAL, registry=registry)
    async def tenant_model_seen(event: kopf.RawEvent, **_: Any) -> None:
        hand(event["object"], event["type"] == "DELETED")

    @kopf.on.login(registry=registry)
    def as_kubectl_does(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    kopf.run(
        registry=registry,
        settings=_settings(),
        standalone=True,
        clusterwide=namespace is None,
        namespaces=[] if namespace is None else [namespace],
        stop_flag=stop,
    )


def _settings() -> kopf.OperatorSettings:
    """Measured with 10,000 objects: a worker holds its slot for idle_timeout after each event."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # no Kubernetes events: status and logs tell it all
    settings.queueing.worker_limit = 500
    settings.queueing.idle_timeout = 0.1
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    return settings
