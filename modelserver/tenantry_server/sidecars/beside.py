"""A sidecar among the servers: what it knows of them, and what it does not do itself.

It has the routing table of a server, and near copies. It loads nothing: what it has no copy of is answered
by the servers that hold it, in the same order in which servers ask one another.
"""

import zlib
from collections.abc import Callable

import structlog

from tenantry import Model, TenantryError
from tenantry.errors import FleetUnreachable, ModelNotReady
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.routing_table import RoutingTable
from tenantry_server.peers.directory import Directory
from tenantry_server.peers.view import FleetView
from tenantry_server.predicting.answer import Pace
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.sidecars import messages
from tenantry_server.sidecars.following import ServerFollower

log = structlog.get_logger(__name__)

_HOLDERS_SILENT = "those that hold this model did not"


class ServerProblem:
    """Says why no server is followed.

    Attributes:
        follower: that knows it.
    """

    follower: ServerFollower | None = None

    def __call__(self) -> str:
        """Return the reason; empty: one is followed."""
        return "" if self.follower is None else self.follower.problem


class NoModels(ModelRepository):
    """Loads nothing: a sidecar has near copies alone.

    Args:
        problem: as of `FollowedTable`.
    """

    def __init__(self, problem: Callable[[], str]) -> None:
        self._problem = problem

    def get_model(self, model_id: str) -> Model:  # noqa: ARG002 - none is loaded
        """Refuse, in the way in which other servers are asked for it."""
        raise FleetUnreachable(self._problem() or _HOLDERS_SILENT)

    def get_card(self, model_id: str) -> bytes | None:  # noqa: ARG002 - as above
        """Refuse, as `get_model`."""
        raise FleetUnreachable(self._problem() or _HOLDERS_SILENT)


class SidecarView(FleetView):
    """The fleet as a sidecar sees it."""

    def __init__(self, table: RoutingTable, directory: Directory, plane: DataPlane) -> None:
        super().__init__(table, directory, plane)
        self._answers = plane

    def pace(self, user_id: str) -> Pace | None:
        """As `choice.View`; why a model is not ready, its servers know."""
        try:
            return self._answers.models.pace(user_id)
        except ModelNotReady:
            return Pace.UNKNOWN
        except TenantryError:
            return None


class KnownFleet:
    """The servers, as the one that is followed says, and where to find any at the start.

    Args:
        urls: base URLs at which some server answers.
        directory: gets to know the servers.
        limits: called with the limits of everyone, as text, once a server says others than before.
    """

    def __init__(
        self, urls: list[str], directory: Directory, limits: Callable[[str], None] = lambda _: None
    ) -> None:
        self._urls = urls
        self._directory = directory
        self._limits = limits
        self._limits_known = ""
        self._learned: list[str] = []

    def urls(self) -> list[str]:
        """Return whom to follow, in the order of preference: another one for each sidecar."""
        return [*self._learned, *self._urls]

    def met(self, fleet: messages.Fleet) -> str | None:
        """Apply what a server says of the fleet; return under which base URL to follow that one."""
        self._directory.update(fleet.servers)
        if fleet.limits != self._limits_known:
            self._limits_known = fleet.limits
            self._limits(fleet.limits)
        me = self._directory.server_id
        stay = sorted(
            (server for server in fleet.servers if not server.report.leaving),
            key=lambda server: zlib.crc32(f"{me} {server.server_id}".encode()),
        )
        self._learned = [server.endpoint for server in stay if server.server_id in self._directory.peers]
        own = next((server for server in stay if server.server_id == fleet.me), None)
        return own.endpoint if own is not None and own.endpoint in self._learned else None
