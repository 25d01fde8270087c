"""TenantModels on the cluster of kubectl's current context: applied, and read again."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from tenantry import TenantModel, __version__
from tenantry.manifest import applying
from tenantry_cli.declaring.waiting import NoAnswer

FIELD_MANAGER = "tenantry-publish"
"""The owner of the fields that `tenantry publish --apply` writes."""

_TIMEOUT_S = 30.0
_PASSING = 500  # and above: the API server itself is in trouble, or on its way back
_TOO_MANY = 429
_T = TypeVar("_T")


class Cluster:
    """The API server that kubectl speaks to, with its credentials; in a pod, that of its service account.

    Args:
        context: of the kubeconfig; None: the current one.

    Raises:
        click.ClickException: no API server is configured.
    """

    def __init__(self, context: str | None = None) -> None:
        configuration = client.Configuration()
        try:
            config.load_config(  # type: ignore[no-untyped-call]
                context=context, client_configuration=configuration
            )
        except Exception as error:  # whatever the client trips over in a file that is something else
            known = isinstance(error, ConfigException | OSError)
            problem = str(error).rstrip(".") if known else f"not a kubeconfig ({type(error).__name__})"
            raise click.ClickException(f"no API server is configured: {problem}; set KUBECONFIG") from None
        self._client = client.ApiClient(configuration)
        self._client.user_agent = f"{FIELD_MANAGER}/{__version__}"
        self._api = client.CustomObjectsApi(self._client)

    def apply(self, declared: TenantModel, *, force: bool = False) -> int:
        """Apply a TenantModel (server-side), and return its generation.

        Fields that others own stay as they are, such as labels. A field that another tool set to another
        value is a conflict.

        Args:
            force: take such fields over.

        Raises:
            click.ClickException: the API server refused; has its words.
        """

        def call() -> int | None:
            return applying.applied(
                self._api, declared, manager=FIELD_MANAGER, force=force, timeout_s=_TIMEOUT_S
            )

        generation = _answered(call, f"apply {declared.namespace}/{declared.name}")
        if generation is None:
            found = self.find(declared) or {"metadata": {"generation": 1}}
            generation = int(found["metadata"]["generation"])
        return generation

    def find(self, declared: TenantModel) -> Mapping[str, Any] | None:
        """Return the object as it stands now; None: it was deleted.

        Raises:
            NoAnswer: the API server did not answer.
            click.ClickException: it refused.
        """

        def call() -> Any:
            where = applying.where(declared)
            return self._api.get_namespaced_custom_object(*where, _request_timeout=_TIMEOUT_S)

        try:
            found: Mapping[str, Any] = _answered(call, f"read {declared.namespace}/{declared.name}")
        except _NotThere:
            return None
        return found


class _NotThere(click.ClickException):
    """404: the object, or the CRD, is not there."""


def _answered(call: Callable[[], _T], what: str) -> _T:
    try:
        return call()
    except ApiException as error:
        status, said = error.status or 0, applying.said(error)
        if status == _TOO_MANY or status >= _PASSING:
            raise NoAnswer(f"can't {what}: HTTP {status} {said}") from None
        if status == 404:
            hint = "the CRD (kubectl apply -k crds) or the namespace may be missing"
            raise _NotThere(f"can't {what}: {said}; {hint}") from None
        if status == 409:
            said = f"{said}; --force-conflicts takes these fields over"
        raise click.ClickException(f"can't {what}: {said}") from None
    except (HTTPError, OSError) as error:
        raise NoAnswer(f"can't {what}: no answer ({type(error).__name__})") from None
