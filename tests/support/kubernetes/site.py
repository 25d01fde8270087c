"""An elected operator, two servers, and a real API server and PostgreSQL: what faults meet."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tenantry.registry import Assignment, Claim, OperatorRegistry, migrate
from tenantry.registry.sql import servers_in
from tests.support.databases.patient import open_patient
from tests.support.databases.postgres import PostgresServer
from tests.support.kubernetes.control_plane import ControlPlane, write_kubeconfig
from tests.support.kubernetes.home import Home
from tests.support.network.valve import Valve
from tests.support.waiting import until

SERVERS = ("server-0", "server-1")


LEASE_S = "3"  # the shortest that a server takes


class Site:
    """A home of an operator and two servers on PostgreSQL; the operator reaches its API server by a valve.

    Attributes:
        home: whose processes run at the start of each test, every one of them.
    """

    def __init__(self, plane: ControlPlane, database: PostgresServer, between: Valve, folder: Path) -> None:
        self.plane = plane
        self.database = database
        self.valve = between
        self.home = Home(plane, folder, database.database())
        self.engine = open_patient(self.home.registry_url)
        migrate(self.engine)
        self.registry = OperatorRegistry(self.engine, "test")
        self._kubeconfig = folder / "through-the-valve"
        write_kubeconfig(self._kubeconfig, between.url, plane.ca_file, plane.admin_token)

    def start_operator(self, env: Mapping[str, str] | None = None) -> None:
        self.home.start_operator(env={"KUBECONFIG": str(self._kubeconfig), **(env or {})})

    def calm(self) -> None:
        """Everything runs, and reaches everything."""
        self.valve.open()
        children = self.home.children
        for server in SERVERS:
            if server not in children or not children[server].running:
                self.home.start_server(server, env={"TENANTRY_LEASE_S": LEASE_S})
            os.kill(children[server].pid, signal.SIGCONT)
        if "operator" not in children or not children["operator"].running:
            self.start_operator()
        os.kill(children["operator"].pid, signal.SIGCONT)
        until(lambda: len(self.live()) == len(SERVERS), "both servers live")

    def kill(self, name: str) -> None:
        """As the kernel does where memory is short."""
        child = self.home.children[name]
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: not child.running, f"{name} is gone")

    def ready(self, user_id: str, slope: float) -> dict[str, Any]:
        """Apply a model of `user_id`, and wait until its status says Ready."""
        self.home.apply(self.home.publish(user_id, slope))
        return self.home.until(user_id, "Ready")

    def answers(self, user_id: str) -> list[float | None]:
        """What each server answers for x = 1; None: no model."""
        return [self.home.predict(user_id, 1.0, server) for server in SERVERS]

    def live(self) -> set[str]:
        """Servers whose lease holds by the database's clock: this process has seen no renewal."""
        return {server.server_id for server in servers_in(self.engine) if server.live}

    def claim(self, name: str) -> Claim | None:
        """What the registry remembers of a TenantModel."""
        return next((claim for claim in self.registry.claims() if claim.name == name), None)

    def rows(self) -> dict[str, tuple[str, str | None]]:
        """User -> uid and model, of every assignment that is not a tombstone."""
        assigned: Mapping[str, Assignment] = self.registry.assigned()
        return {user: (row.uid, row.model_id) for user, row in assigned.items()}

    def sql(self, statement: str, **values: Any) -> None:
        """What a person does with psql."""
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)
