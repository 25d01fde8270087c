"""An operator and several model servers on one registry, and what happens to processes.

Owns: starting, killing, pausing and ending them; what the registry says of them.
Refuses: tenants (`census`), requests (`load`) and cuts (`firewall`).
"""

import os
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Self

from sqlalchemy import Engine, select

from tenantry.placement import SHARDS
from tenantry.registry import Holding, OperatorRegistry, Server, migrate
from tenantry.registry.schema import claims
from tenantry.registry.sql import servers_in
from tests.support.databases.patient import open_patient
from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child
from tests.support.processes.launching import TENANTRY
from tests.support.waiting import PATIENCE_S, until

OPERATOR = "operator"
_GROUPS = count(65_501)  # each server its own; nobody's else
_GRACE_S = 60.0
LEASE_S = 3.0  # the shortest that a server takes


@dataclass
class Member:
    """A server of the fleet, running or not.

    Attributes:
        gid: that it runs under.
        env: beside the fleet's.
    """

    name: str
    port: int
    gid: int
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Fleet:
    """Processes with a log each.

    Args:
        folder: for logs and disk caches.
        registry_url: of a registry; its tables are made where there are none.
        operator: arguments of `tenantry operator`.
        env: of every process, beside ours.
        servers: how many, called server-0 and so on; none is started yet.
    """

    def __init__(
        self,
        folder: Path,
        registry_url: str,
        operator: list[str],
        *,
        env: Mapping[str, str] | None = None,
        servers: int = 3,
    ) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.registry_url = registry_url
        self.engine: Engine = open_patient(registry_url)
        migrate(self.engine)
        self.registry = OperatorRegistry(self.engine, "test")
        self.members: dict[str, Member] = {}
        self.children: dict[str, Child] = {}
        self._operator = operator
        self._env = {
            **os.environ,
            "TENANTRY_REGISTRY_URL": registry_url,
            "TENANTRY_LEASE_S": str(LEASE_S),
            "OMP_NUM_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
            **(env or {}),
        }
        for _ in range(servers):
            self.enroll()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enroll(self, env: Mapping[str, str] | None = None) -> Member:
        """One more server, to be started."""
        (port,) = free_ports(1)
        member = Member(f"server-{len(self.members)}", port, next(_GROUPS), env or {})
        self.members[member.name] = member
        return member

    def dismiss(self, name: str) -> None:
        """End a server and forget it."""
        self.children.pop(name).stop(grace_s=_GRACE_S)
        del self.members[name]

    @property
    def urls(self) -> dict[str, str]:
        """Of the servers by name, running or not."""
        return {name: member.url for name, member in self.members.items()}

    # Processes

    def start(self, *names: str) -> None:
        """Start these; all that do not run, the operator too, where none is named."""
        for name in names or (OPERATOR, *self.members):
            if name not in self.children or not self.children[name].running:
                self._start(name)

    def _start(self, name: str) -> None:
        if name in self.children:
            self.children[name].stop(grace_s=0)  # frees what it left
        if name == OPERATOR:
            argv, gid, env = [*TENANTRY, "operator", *self._operator], None, self._env
        else:
            member = self.members[name]
            argv = [*TENANTRY, "serve", "--server-id", name, "--port", str(member.port)]
            own = {"TENANTRY_DISK_CACHE_DIR": str(self.disk(name))}
            gid, env = member.gid if os.geteuid() == 0 else None, {**self._env, **own, **member.env}
        self.children[name] = Child(argv, log=self.folder / f"{name}.log", env=env, gid=gid)

    def kill(self, *names: str) -> None:
        """As the kernel does where memory is short: all at once."""
        for name in names:
            os.kill(self.children[name].pid, signal.SIGKILL)
        for name in names:
            until(lambda name=name: not self.children[name].running, f"{name} is gone")  # type: ignore[misc]

    def pause(self, name: str) -> None:
        os.kill(self.children[name].pid, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        os.kill(self.children[name].pid, signal.SIGCONT)

    def terminate(self, name: str) -> None:
        """Tell it to stop, and return at once."""
        os.kill(self.children[name].pid, signal.SIGTERM)

    def until_gone(self, name: str, *, timeout_s: float = PATIENCE_S) -> None:
        until(lambda: not self.children[name].running, f"{name} is gone", timeout_s=timeout_s)

    def close(self) -> None:
        """End all of them.

        Raises:
            AssertionError: one did not end when it was told to; the message shows what it was at.
        """
        for child in self.children.values():
            if child.running:
                os.kill(child.pid, signal.SIGCONT)
                os.kill(child.pid, signal.SIGTERM)
        ends_s = time.monotonic() + _GRACE_S
        while time.monotonic() < ends_s and any(child.running for child in self.children.values()):
            time.sleep(0.05)
        hung = [name for name, child in self.children.items() if child.running]
        for name in hung:
            os.kill(self.pid(name), signal.SIGABRT)  # writes the stacks of its threads to its log
            until(lambda name=name: not self.children[name].running, f"{name} aborts")  # type: ignore[misc]
        for child in self.children.values():
            child.stop(grace_s=0)
        self.engine.dispose()
        assert not hung, "\n".join(f"{name} did not end:\n{self.log(name)[-6000:]}" for name in hung)

    def disk(self, name: str) -> Path:
        """Where a server keeps artifacts."""
        return self.folder / f"disk-{name}"

    def log(self, name: str) -> str:
        """What a process wrote so far, in all its lives."""
        return (self.folder / f"{name}.log").read_text()

    # What is known of them

    def pid(self, name: str) -> int:
        return self.children[name].pid

    def ready(self, name: str) -> bool:
        """Whether /readyz says so."""
        try:
            with urllib.request.urlopen(f"{self.members[name].url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def servers(self) -> dict[str, Server]:
        """As the registry knows them."""
        return {server.server_id: server for server in servers_in(self.engine)}

    def live(self) -> set[str]:
        """Servers whose lease holds."""
        return {name for name, server in self.servers().items() if server.live}

    def shards(self) -> dict[int, Holding]:
        return self.registry.shards()

    def held(self) -> Counter[str]:
        """How many shards each holds."""
        return Counter(holding.server_id for holding in self.shards().values())

    def ready_generation(self, user_id: str) -> int:
        """The newest generation of the user's TenantModel that is called Ready; 0: none is."""
        query = select(claims.c.observed_generation, claims.c.generation, claims.c.conditions).where(
            claims.c.user_id == user_id
        )
        with self.engine.connect() as connection:
            row = connection.execute(query).one()
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in row.conditions)
        return int(row.generation) if ready and row.generation == row.observed_generation else 0

    def settled(self, names: Collection[str]) -> bool:
        """Whether these live, nobody else does, they hold every shard, and none is on its way."""
        if self.live() != set(names):
            return False
        shards = self.shards()
        moving = any(holding.next_id is not None for holding in shards.values())
        return len(shards) == SHARDS and not moving and set(self.held()) == set(names)

    def until_settled(self, *names: str, timeout_s: float = PATIENCE_S) -> None:
        """Until `settled` by these, or by all that run, and each says that it is ready."""
        wanted = names or tuple(n for n in self.members if n in self.children and self.children[n].running)
        until(
            lambda: self.settled(wanted), f"shards are held by {wanted}", timeout_s=timeout_s, every_s=0.1
        )
        for name in wanted:
            until(lambda name=name: self.ready(name), f"{name} is ready", timeout_s=timeout_s)  # type: ignore[misc]
