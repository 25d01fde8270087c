"""A TenantModel applied to a cluster (server-side), through a client that the caller has opened.

Refuses to know the client: that of Kubernetes is imported where its connections are made.
"""

import json
from typing import Any, Protocol

from tenantry.manifest.spec import API_GROUP, PLURAL, VERSION, TenantModel


class CustomObjects(Protocol):
    """What `kubernetes.client.CustomObjectsApi` is asked for here."""

    def patch_namespaced_custom_object(self, *args: Any, **options: Any) -> Any:
        """Send a PATCH."""


def where(declared: TenantModel) -> tuple[str, str, str, str, str]:
    """Return how that client names a TenantModel: group, version, namespace, plural and name."""
    return API_GROUP, VERSION, declared.namespace, PLURAL, declared.name


def applied(
    api: CustomObjects, declared: TenantModel, *, manager: str, force: bool, timeout_s: float
) -> int | None:
    """Apply a TenantModel, and return its generation; None: the client does not say, as the object is new.

    Fields that others own stay as they are, such as labels.

    Args:
        manager: the owner of the fields that are applied.
        force: take over fields that another manager set to another value, which is a conflict otherwise.
        timeout_s: for the answer.

    Raises:
        kubernetes.client.ApiException: the API server refused; `said` has its words.
        urllib3.exceptions.HTTPError: it did not answer.
    """
    seen = api.patch_namespaced_custom_object(
        *where(declared),
        declared.to_manifest(),
        field_manager=manager,
        force=force,
        _content_type="application/apply-patch+yaml",
        _request_timeout=timeout_s,
    )
    # The client (37.0.1) decodes the answer 200 alone, and returns None for 201: the object is new.
    return None if seen is None else int(seen["metadata"]["generation"])


def said(error: Any) -> str:
    """Return what the API server said with an ApiException, without the headers of its answer."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason or "no reason given")
