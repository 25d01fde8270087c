"""Which of several replicas works: the one that holds a Lease."""

import asyncio
import contextlib
import threading

import structlog

from tenantry import TenantryError
from tenantry.processes.runtime import boot_clock_s, run_async
from tenantry_operator.cluster.client import Cluster
from tenantry_operator.cluster.lease import LEASE_S, Lease

log = structlog.get_logger(__name__)


class LeaseLost(TenantryError):
    """The Lease could not be renewed in time, so another operator may lead by now."""

    def __init__(self) -> None:
        super().__init__(
            "the lease could not be renewed in time; another operator may lead by now, so this one ends"
        )


class Election:
    """Holds a Lease, in a thread of its own, for as long as this process lives.

    Args:
        lease: NAMESPACE/NAME of a Lease; the first replica makes it.
        identity: of this process among its replicas.
        stop: set where the lease is lost.
    """

    def __init__(self, lease: str, identity: str, stop: threading.Event) -> None:
        self._lease = lease
        self._identity = identity
        self._stop = stop
        self._won = threading.Event()
        self._renewed_at_s = float("-inf")
        self._failure: TenantryError | None = None
        self._problem: str | None = f"the Lease {lease} has not been read yet"
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="election", daemon=True)
        self._thread.start()

    def won(self) -> bool:
        """Wait until this process leads; False: it was stopped first."""
        log.info("waiting for the lease", lease=self._lease, identity=self._identity)
        while not self._stop.is_set():
            if self._won.wait(0.2):
                return True
        self.release()
        self.check()
        return False

    def holds(self) -> bool:
        """Return whether no other replica can hold the lease; known first of all after a pause."""
        return not self._leaving.is_set() and boot_clock_s() < self._renewed_at_s + LEASE_S

    def problem(self) -> str | None:
        """Return why this process can neither lead nor wait for the leader's end; None: it can."""
        return self._problem

    def release(self) -> None:
        """Let another replica lead at once; call it when all work as the leader has ended."""
        self._leaving.set()
        self._thread.join(5.0)

    def check(self) -> None:
        """Raise the reason if this process ended because of the lease.

        Raises:
            LeaseLost: it was not renewed in time.
            ClusterError: there is no API server to ask for it.
        """
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        failure: TenantryError = LeaseLost()
        try:
            run_async(self._hold())
        except TenantryError as error:
            failure = error
        except Exception:
            log.exception("leader election failed")
        if not self._leaving.is_set():
            self._failure = failure
            self._stop.set()

    async def _hold(self) -> None:
        async def led() -> None:
            self._won.set()

        def renewed(asked_at_s: float) -> None:
            self._renewed_at_s = asked_at_s

        def seen(problem: str | None) -> None:
            self._problem = problem

        async with Cluster(None) as cluster:
            lease = Lease(cluster.api, self._lease, self._identity)
            holding = asyncio.create_task(lease.hold(led, renewed, seen))
            while not holding.done() and not self._leaving.is_set():
                await asyncio.wait([holding], timeout=0.1)
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await holding
            if self._leaving.is_set():
                await lease.release()
