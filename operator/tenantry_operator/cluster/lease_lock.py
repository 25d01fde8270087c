"""The client's lock on a Lease, made to bear an API server that does not answer."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import structlog
from aiohttp import ClientError
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from tenantry.logs import OnChange
from tenantry.runtime import boot_clock_s

log = structlog.get_logger(__name__)

_LEASE_CALL_S = 5.0  # half of the deadline of a renewal; the client would wait for minutes


class PatientLock(LeaseLock):
    """Treats a server that does not answer as one that refuses; the client would end the election."""

    def __init__(
        self,
        name: str,
        namespace: str,
        identity: str,
        api_client: client.ApiClient,
        renewed: Callable[[float], None],
    ) -> None:
        super().__init__(name, namespace, identity, api_client)
        self._renewed = renewed
        self._missing = OnChange(log)
        self._unreadable = OnChange(log)
        logging.getLogger("kubernetes.aio.leaderelection").setLevel(logging.CRITICAL)  # every two seconds

    async def get(self, name: str, namespace: str) -> Any:
        """Like LeaseLock, but an API server that does not answer is an error of the API."""
        try:
            async with asyncio.timeout(_LEASE_CALL_S):
                found = await super().get(name, namespace)
        except (ClientError, TimeoutError, OSError) as error:
            found = False, ApiException(status=0, reason=f"{type(error).__name__} {error}".strip())
        problem = found[1] if isinstance(found[1], ApiException) and found[1].status != 404 else None
        if problem is None:
            self._unreadable.over()
        else:
            lease = f"{namespace}/{name}"
            self._unreadable.warning("can't read the Lease", lease=lease, error=described(problem))
        return found

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:  # noqa: ARG002
        """Report that there is no such Lease; the client's own create is broken, and needs a wide right."""
        self._missing.warning(
            "there is no such lease; create it, as manifests/base does", lease=f"{namespace}/{name}"
        )
        return False

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Like LeaseLock, but an API server that does not answer counts as a refusal."""
        asked_at_s = boot_clock_s()
        try:
            async with asyncio.timeout(_LEASE_CALL_S):
                done = await super().update(name, namespace, updated_record)
        except (ClientError, TimeoutError, OSError):
            return False
        if done:
            self._renewed(asked_at_s)
        return done


def described(error: ApiException) -> str:
    """Return the status of an answer, with the API server's own message if it sent one."""
    try:
        words = json.loads(error.body or "")["message"]
    except (TypeError, ValueError, LookupError):
        words = error.reason
    return f"{error.status} {words}"
