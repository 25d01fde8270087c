"""The routing table of a sidecar, which is trusted while the lease holds, and at no other time."""

import math
from collections.abc import Callable

from tenantry.errors import FleetUnreachable
from tenantry.processes.runtime import boot_clock_s
from tenantry.registry.rows import Assignment
from tenantry_server.assignments.contact import RegistryContact
from tenantry_server.assignments.routing_table import OnRegistryLoss, RoutingTable


class _Nobody:
    """In the place of the registry, which no sidecar asks."""

    def lookup(self, user_id: str) -> Assignment | None:
        raise FleetUnreachable(f"nobody knows {user_id!r}")


class FollowedTable(RoutingTable):
    """A routing table that is trusted while the lease holds, and at no other time.

    Args:
        problem: returns why no server is followed; empty: one is.
        clock_s: seconds, never going back; a parameter so that tests can move it.
    """

    def __init__(
        self, problem: Callable[[], str] = lambda: "", *, clock_s: Callable[[], float] = boot_clock_s
    ) -> None:
        super().__init__(_Nobody(), on_loss=OnRegistryLoss.REFUSE, clock_s=clock_s)
        # It only says whom to ask: without a lease nothing is answered from here, so it may be old.
        self.contact = RegistryContact(clock_s=clock_s, believed_s=math.inf)
        self.problem = problem

    def get_model_id_by_user_id(self, user_id: str) -> str:
        """Refuse: the lease is over, and the servers were asked before."""
        raise FleetUnreachable(self.problem() or f"the lease is over; user {user_id!r}")
