"""TenantModels on an API server: declared by server-side apply, and listed page by page."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from tenantry import TenantModel
from tenantry.manifest import applying
from tenantry.manifest.spec import API_GROUP, PLURAL, VERSION
from tenantry_airflow.awaited import Key
from tenantry_airflow.sources import SourceUnavailableError

_MANAGER = "tenantry-airflow"  # of the fields that are applied
_IN_POD = "KUBERNETES_SERVICE_HOST"
_PAGE = 500  # as kubectl: the API server holds that many in memory for us at once
_TIMEOUT_S = 30.0
_LATER = {0, 408, 410, 429}  # 0: no answer; 410: the listing took longer than the API server keeps it


class ClusterRefusedError(Exception):
    """The API server refused a call; has its words."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one TenantModel that was applied.

    Attributes:
        generation: that the API server gave it; None: it was not declared.
        problem: what the API server said; empty: it is declared.
    """

    declared: TenantModel
    generation: int | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """An API server; names as in Airflow's Kubernetes provider.

    Attributes:
        config_file: path of a kubeconfig; None: KUBECONFIG, else ``~/.kube/config``.
        cluster_context: of the kubeconfig; None: the current one.
        in_cluster: use the service account of the pod; None: where there is no kubeconfig.
    """

    config_file: str | None = None
    cluster_context: str | None = None
    in_cluster: bool | None = None

    def listed(self, namespaces: Collection[str]) -> dict[Key, Mapping[str, Any]]:
        """Read all TenantModels of these namespaces.

        Raises:
            SourceUnavailableError: the API server gave no answer.
            ClusterRefusedError: it refused, or no credentials were found.
        """
        try:
            with self._client() as opened:
                api = client.CustomObjectsApi(opened)
                return {
                    (item["metadata"]["namespace"], item["metadata"]["name"]): item
                    for namespace in sorted(namespaces)
                    for item in _pages(api, namespace)
                }
        except client.ApiException as error:
            words = _words(error)
            if error.status in _LATER or (error.status or 0) >= 500:
                raise SourceUnavailableError(words) from None
            raise ClusterRefusedError(words) from None
        except HTTPError as error:
            raise SourceUnavailableError(f"the API server gave no answer: {error}") from None

    def apply(self, models: Sequence[TenantModel], *, threads: int) -> list[Applied]:
        """Declare each TenantModel by server-side apply; one that is refused stops no other.

        Fields that others set stay, such as labels or `prewarm`. Those that a TenantModel here names are
        taken over, so that a pipeline updates what a person declared first.

        Args:
            threads: how many are applied at once.

        Raises:
            ClusterRefusedError: no credentials were found.
        """
        with self._client() as opened, ThreadPoolExecutor(threads, "apply") as pool:
            api = client.CustomObjectsApi(opened)
            return list(pool.map(lambda declared: _applied(api, declared), models))

    def _client(self) -> client.ApiClient:
        """Open connections; threads may share them.

        Raises:
            ClusterRefusedError: no credentials were found.
        """
        settings = client.Configuration()
        try:
            if self.in_cluster:
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            else:
                self._load_kubeconfig(settings)
        except config.ConfigException as error:
            raise ClusterRefusedError(f"no credentials for a cluster: {error}") from None
        return client.ApiClient(settings)

    def _load_kubeconfig(self, settings: client.Configuration) -> None:
        try:
            config.load_kube_config(  # type: ignore[no-untyped-call]
                self.config_file, self.cluster_context, client_configuration=settings
            )
        except config.ConfigException:
            named = self.in_cluster is False or self.config_file or self.cluster_context
            if named or _IN_POD not in os.environ:
                raise
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]


def _applied(api: client.CustomObjectsApi, declared: TenantModel) -> Applied:
    try:
        seen = applying.applied(api, declared, manager=_MANAGER, force=True, timeout_s=_TIMEOUT_S)
    except client.ApiException as error:
        return Applied(declared, problem=_words(error))
    except HTTPError as error:
        return Applied(declared, problem=f"the API server gave no answer: {error}")
    return Applied(declared, generation=1 if seen is None else seen)


def _pages(api: client.CustomObjectsApi, namespace: str) -> Iterator[dict[str, Any]]:
    more: dict[str, Any] = {}
    while True:
        page: Any = api.list_namespaced_custom_object(
            API_GROUP, VERSION, namespace, PLURAL, limit=_PAGE, _request_timeout=_TIMEOUT_S, **more
        )
        yield from page["items"]
        token = page["metadata"].get("continue")
        if not token:
            return
        more = {"_continue": token}


def _words(error: client.ApiException) -> str:
    said = applying.said(error)
    if error.status == 404 and "could not find the requested resource" in said:
        said = f"the CRD {PLURAL}.{API_GROUP} is not installed; kubectl apply -k crds"
    return f"the API server said {error.status}: {said}"
