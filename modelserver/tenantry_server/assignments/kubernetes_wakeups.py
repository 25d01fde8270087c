"""A wake-up from the API server: something about a TenantModel changed, so the registry soon will too.

Owns the only use of the Kubernetes client on this side. Refuses to read what changed: the registry is the
truth, and polling it finds everything, only later.
"""

import asyncio
import os
from collections.abc import Callable
from typing import Any

import structlog
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from tenantry import __version__
from tenantry.manifest.spec import API_GROUP, PLURAL, VERSION
from tenantry.processes.logs import OnChange

log = structlog.get_logger(__name__)

_TIMEOUT_S = 10
_WATCH_S = 300  # the API server ends a watch then, so that a connection that died is noticed
_SILENT_S = _WATCH_S + 30
_RETRY_S = 5.0
_PAUSE_S = 1.0


async def run(namespace: str | None, wake: Callable[[], None]) -> None:
    """Call `wake` for each change of a TenantModel, until cancelled.

    The API server is found as kubectl finds it, or through the service account of the pod; while it
    can't be reached, it is tried again every few seconds.

    Args:
        namespace: to watch; None: all.
    """
    silence = OnChange(log)
    while True:
        try:
            async with client.ApiClient(await _configuration()) as connection:
                connection.user_agent = f"tenantry-server/{__version__}"
                while True:
                    await _watch(client.CustomObjectsApi(connection), namespace, wake)
                    silence.over("wake-ups from the API server again")
                    await asyncio.sleep(_PAUSE_S)  # a watch may end at once
        except Exception as error:
            # Refused, out of reach, or a fault of the client: predictions must not notice.
            silence.warning("no wake-ups from the API server; polling goes on", error=_short(error))
            await asyncio.sleep(_RETRY_S)


async def _configuration() -> client.Configuration:
    configuration = client.Configuration()
    if os.environ.get("KUBERNETES_SERVICE_HOST") and "KUBECONFIG" not in os.environ:
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    else:
        file = os.environ.get("KUBECONFIG")  # the present one, not that of when the client was imported
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=file, client_configuration=configuration
        )
    return configuration


async def _watch(api: client.CustomObjectsApi, namespace: str | None, wake: Callable[[], None]) -> None:
    """Watch from now until the API server ends it; the events are not even parsed."""
    listing: Callable[..., Any] = api.list_cluster_custom_object
    watching: Callable[..., Any] = api.list_cluster_custom_object_without_preload_content
    where: tuple[str, ...] = (API_GROUP, VERSION, PLURAL)
    if namespace is not None:
        listing = api.list_namespaced_custom_object
        watching = api.list_namespaced_custom_object_without_preload_content
        where = (API_GROUP, VERSION, namespace, PLURAL)
    now = await listing(*where, limit=1, _request_timeout=_TIMEOUT_S)
    response = await watching(
        *where,
        watch=True,
        resource_version=now["metadata"]["resourceVersion"],
        timeout_seconds=_WATCH_S,
        _request_timeout=_SILENT_S,
    )
    try:
        if response.status != 200:  # unlike other calls, this one leaves that to its caller
            raise ApiException(status=response.status, reason=response.reason)
        async for _ in response.content.iter_any():
            wake()
    finally:
        response.close()


def _short(error: Exception) -> str:
    if isinstance(error, ApiException):
        return f"{error.status} {error.reason}"
    return f"{type(error).__name__}: {error}"
