"""The Lease of several replicas: the first one makes it, one holds it, and gives it back at its end.

Owns: the calls for it, and what is said where the API server refuses them.
Refuses: what to do as its holder (`election`), and fencing, which is the registry's epoch.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog
from aiohttp import ClientError
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from tenantry.processes.logs import OnChange
from tenantry.processes.runtime import boot_clock_s
from tenantry_operator.cluster.client import described

log = structlog.get_logger(__name__)

# client-go's own defaults: a leader that died is replaced after LEASE_S at the latest.
LEASE_S, _RENEW_DEADLINE_S, _RETRY_S = 15, 10, 2  # the client takes whole seconds only
_CALL_S = _RENEW_DEADLINE_S / 2  # the client would wait for minutes
_RELEASE_S = 2.0
_NOT_FOUND, _CONFLICT = 404, 409


class Lease:
    """One Lease, as one process sees it.

    Args:
        api: of an entered `Cluster`.
        lease: NAMESPACE/NAME; it is made where it does not exist.
        identity: of this process among its replicas.
    """

    def __init__(self, api: client.ApiClient, lease: str, identity: str) -> None:
        self._api = api
        self._namespace, _, self._name = lease.partition("/")
        self._identity = identity

    async def hold(
        self,
        led: Callable[[], Coroutine[Any, Any, None]],
        renewed: Callable[[float], None],
        seen: Callable[[str | None], None],
    ) -> None:
        """Wait for the Lease, then run `led` while holding it.

        Return once the Lease is lost: all work as its holder must end at once. That does not
        fence, as a process may be paused before it notices; the registry's epoch does.

        Args:
            renewed: called whenever the Lease was got or renewed, with the boot clock's time at which
                that was asked for; nobody else gets it for LEASE_S seconds from then.
            seen: called after each call, with the reason why this process can neither hold the Lease
                nor wait for it; None: it can.
        """

        async def lost() -> None:
            return

        lock = _PatientLock(self._name, self._namespace, self._identity, self._api, renewed, seen)
        election = LeaderElection(Config(lock, LEASE_S, _RENEW_DEADLINE_S, _RETRY_S, led, lost))
        await election.run()

    async def release(self) -> None:
        """Give up a held Lease, so that no replica has to wait for its end."""
        leases = client.CoordinationV1Api(self._api)
        with contextlib.suppress(ApiException, ClientError, TimeoutError, OSError):
            found = await leases.read_namespaced_lease(
                self._name, self._namespace, _request_timeout=_RELEASE_S
            )
            if found.spec is not None and found.spec.holder_identity == self._identity:
                found.spec.holder_identity = None
                await leases.replace_namespaced_lease(
                    self._name, self._namespace, found, _request_timeout=_RELEASE_S
                )


class _PatientLock(LeaseLock):
    """Makes the Lease, and treats a server that does not answer as one that refuses.

    The client's own `create` sends a value that the client itself refuses (37.0), and a server that
    does not answer would end the election.
    """

    def __init__(
        self,
        name: str,
        namespace: str,
        identity: str,
        api_client: client.ApiClient,
        renewed: Callable[[float], None],
        seen: Callable[[str | None], None],
    ) -> None:
        super().__init__(name, namespace, identity, api_client)
        self._renewed = renewed
        self._seen = seen
        self._troubles = {step: OnChange(log) for step in ("read", "make", "take")}
        self._problems: dict[str, str] = {}
        self._held_by_other_s = float("-inf")
        logging.getLogger("kubernetes.aio.leaderelection").setLevel(logging.CRITICAL)  # every two seconds

    async def get(self, name: str, namespace: str) -> Any:
        """Like LeaseLock, but an API server that does not answer is an error of the API."""
        found: Any = None
        try:
            async with asyncio.timeout(_CALL_S):
                found = await super().get(name, namespace)
        except (ClientError, TimeoutError, OSError) as error:
            found = False, _silence(error)
        refused = found[1] if isinstance(found[1], ApiException) and found[1].status != _NOT_FOUND else None
        self._judge("read", refused)
        if found[0]:
            self._judge("make", None)
            if found[1].holder_identity not in (None, self.identity):
                self._held_by_other_s = boot_clock_s()
        return found

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        """Make the Lease, held by this process; False: it can't, or another process was quicker."""
        asked_at_s = boot_clock_s()
        if asked_at_s < self._held_by_other_s + LEASE_S:  # deleted; its holder has not noticed yet
            return False
        body = client.V1Lease(
            metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record)
        )
        refused = await _refusal(self.api_instance.create_namespaced_lease(namespace, body))
        self._judge("make", refused)
        if refused is None:
            log.info("made the Lease", lease=f"{namespace}/{name}")
            self._renewed(asked_at_s)
        return refused is None

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        """Like LeaseLock, but an API server that does not answer counts as a refusal."""
        asked_at_s = boot_clock_s()
        lease = self.lease_reference
        if lease is None:
            raise RuntimeError("get the Lease before its update: what is written replaces what was read")
        lease.spec = self.update_lease(updated_record, lease.spec)
        refused = await _refusal(self.api_instance.replace_namespaced_lease(name, namespace, lease))
        self._judge("take", refused)
        if refused is None:
            self._renewed(asked_at_s)
        return refused is None

    def _judge(self, step: str, refused: ApiException | None) -> None:
        """Log and report a refusal; that another process was quicker is none."""
        if refused is None or refused.status == _CONFLICT:
            self._troubles[step].over()
            self._problems.pop(step, None)
        else:
            lease, error = f"{self.namespace}/{self.name}", described(refused)
            self._troubles[step].warning(f"can't {step} the Lease", lease=lease, error=error)
            self._problems[step] = f"can't {step} the Lease {lease}: {error}"
        self._seen(next(iter(self._problems.values()), None))


async def _refusal(call: Awaitable[Any]) -> ApiException | None:
    try:
        async with asyncio.timeout(_CALL_S):
            await call
    except ApiException as error:
        return error
    except (ClientError, TimeoutError, OSError) as error:
        return _silence(error)
    return None


def _silence(error: Exception) -> ApiException:
    return ApiException(status=0, reason=f"{type(error).__name__} {error}".strip())
