"""TenantModels through the Kubernetes client: lists, looks up, and writes statuses."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import ClientError
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config import ConfigException

from tenantry import TenantryError, __version__
from tenantry.manifest.spec import API_GROUP, PLURAL, VERSION
from tenantry_operator.policies.document import PLURAL as POLICIES

PAGE = 500  # as kubectl: the API server holds that many in memory for us at once
_TIMEOUT_S = 30.0
_NO_CRD = f"the CRD {PLURAL}.{API_GROUP} is not installed; kubectl apply -k crds"
_IN_POD = "KUBERNETES_SERVICE_HOST"


class ClusterError(TenantryError):
    """The API server refused a call, or did not answer it."""


class Conflict(ClusterError):
    """The object changed since it was seen; nothing was written."""


class Gone(ClusterError):
    """The object was deleted."""


class Cluster:
    """TenantModels on an API server; use it as an async context manager.

    Found as kubectl finds it: KUBECONFIG or ~/.kube/config, or the service account of the pod.

    Args:
        namespace: to follow; None: all.
    """

    def __init__(self, namespace: str | None) -> None:
        self._namespace = namespace
        self._api: client.CustomObjectsApi | None = None
        self._client: client.ApiClient | None = None

    async def __aenter__(self) -> Self:
        self._client = client.ApiClient(await self.configured())
        self._client.user_agent = f"tenantry-operator/{__version__}"  # and so the manager of our fields
        self._api = client.CustomObjectsApi(self._client)
        return self

    @classmethod
    async def configured(cls) -> client.Configuration:
        """Find the API server and our credentials.

        Raises:
            ClusterError: no configuration was found.
        """
        try:
            return await cls._configuration()
        except (ConfigException, OSError) as error:
            problem = str(error).rstrip(".")
            raise ClusterError(f"no API server is configured: {problem}; set KUBECONFIG") from error

    @staticmethod
    async def _configuration() -> client.Configuration:
        configuration = client.Configuration()
        if os.environ.get(_IN_POD) and "KUBECONFIG" not in os.environ:
            config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]
        else:
            file = os.environ.get("KUBECONFIG")  # the present one, not that of when the client was imported
            try:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    config_file=file, client_configuration=configuration
                )
            except (ConfigException, OSError):
                raise
            except Exception as error:  # whatever the client trips over in a file that is something else
                named = file or "~/.kube/config"
                raise ConfigException(f"{named} is not a kubeconfig ({type(error).__name__})") from error
        return configuration

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()  # type: ignore[no-untyped-call]

    async def listed(self) -> AsyncIterator[dict[str, Any]]:
        """Iterate over every TenantModel, page by page: one listing at one resourceVersion.

        Raises:
            ClusterError: a page is missing, so nothing may be concluded from what was not listed.
        """
        if self._namespace is None:
            pages = self._pages(self._calls.list_cluster_custom_object, API_GROUP, VERSION, PLURAL)
        else:
            where = (API_GROUP, VERSION, self._namespace, PLURAL)
            pages = self._pages(self._calls.list_namespaced_custom_object, *where)
        try:
            async for item in pages:
                yield item
        except Gone:
            raise ClusterError(_NO_CRD) from None

    async def policies(self) -> list[dict[str, Any]]:
        """Return every TenantPolicy; none where their CRD is not installed."""
        where = (API_GROUP, VERSION, POLICIES)
        try:
            return [each async for each in self._pages(self._calls.list_cluster_custom_object, *where)]
        except Gone:
            return []

    async def namespace_labels(self) -> dict[str, dict[str, str]]:
        """Return the labels of every namespace."""
        items = [each["metadata"] async for each in self._pages(self._namespaces)]
        return {each["name"]: dict(each.get("labels") or {}) for each in items}

    async def _pages(self, listing: Callable[..., Awaitable[Any]], *where: str) -> AsyncIterator[Any]:
        proceed: dict[str, str] = {}
        while True:
            page = await _answered(listing(*where, limit=PAGE, _request_timeout=_TIMEOUT_S, **proceed))
            for item in page["items"]:
                yield item
            token = page["metadata"].get("continue")
            if not token:
                return
            proceed = {"_continue": token}

    async def find(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the object of this name now; None: there is none."""
        return await self._found(API_GROUP, VERSION, namespace, PLURAL, name)

    async def find_stateful_set(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the StatefulSet of this name now; None: there is none."""
        return await self._found("apps", "v1", namespace, "statefulsets", name)

    async def uid(self) -> str:
        """Return the UID of kube-system, which names the cluster as long as it lives; or ClusterError."""
        found = await _answered(self._namespaces("/kube-system"))
        return str(found["metadata"]["uid"])

    async def write_status(
        self, namespace: str, name: str, resource_version: str, status: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Write a status over the object that was seen, and return the new object.

        Raises:
            Conflict: the object has changed since.
            Gone: it was deleted.
            ClusterError: anything else.
        """
        body = {"metadata": {"resourceVersion": resource_version}, "status": dict(status)}
        return await _answered(
            self._calls.patch_namespaced_custom_object_status(
                API_GROUP,
                VERSION,
                namespace,
                PLURAL,
                name,
                body,
                _content_type="application/merge-patch+json",
                _request_timeout=_TIMEOUT_S,
            )
        )

    async def _namespaces(
        self, name: str = "", *, _request_timeout: float = _TIMEOUT_S, **query: object
    ) -> dict[str, Any]:
        """Return what stands at `/api/v1/namespaces`, or below it.

        Not by the client's CoreV1Api, whose import of 430 modules took an operator longer than all else of
        its start.
        """
        called = await self.api.param_serialize(
            "GET",
            f"/api/v1/namespaces{name}",
            query_params=[(key.removeprefix("_"), value) for key, value in query.items()],
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer = await self.api.call_api(*called, _request_timeout=_request_timeout)
        await answer.read()  # type: ignore[no-untyped-call]
        read: Any = self.api.response_deserialize(answer, {"200": "object"}).data
        return dict(read)

    async def _found(
        self, group: str, version: str, namespace: str, plural: str, name: str
    ) -> dict[str, Any] | None:
        try:
            return await _answered(
                self._calls.get_namespaced_custom_object(
                    group, version, namespace, plural, name, _request_timeout=_TIMEOUT_S
                )
            )
        except Gone:
            return None

    @property
    def api(self) -> client.ApiClient:
        """The connection, for calls that are not about TenantModels."""
        if self._client is None:
            raise RuntimeError("enter the cluster first: async with Cluster(…)")
        return self._client

    @property
    def _calls(self) -> client.CustomObjectsApi:
        if self._api is None:
            raise RuntimeError("enter the cluster first: async with Cluster(…)")
        return self._api


async def _answered(call: Awaitable[Any]) -> dict[str, Any]:
    try:
        return dict(await call)
    except ApiException as error:
        kinds = {404: Gone, 409: Conflict}
        raise kinds.get(error.status, ClusterError)(described(error)) from error
    except (ClientError, TimeoutError, OSError) as error:
        raise ClusterError(f"the API server did not answer: {type(error).__name__}: {error}") from error


def described(error: ApiException) -> str:
    """Return the status of an answer, with the API server's own message if it sent one."""
    try:
        words = json.loads(error.body or "")["message"]
    except (TypeError, ValueError, LookupError):
        words = error.reason
    return f"{error.status} {words}"
