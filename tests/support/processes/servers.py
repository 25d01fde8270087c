"""Model servers as processes of their own over one registry, without an operator: a test places shards."""

import os
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import joblib

from tenantry.placement import SHARDS, shard_of
from tenantry.registry import Assignment, Holding, Server, Writes
from tenantry.registry.sql import servers_in
from tests.support.databases.migrated import migrate
from tests.support.databases.patient import open_patient
from tests.support.processes import launching
from tests.support.processes.child_process import Child, stop_all
from tests.support.tenants.operator_side import leading
from tests.support.waiting import PATIENCE_S, until


class Servers:
    """Running servers, and the registry that they follow.

    Args:
        env: of every server beside ours; a registry that it names is used, and migrated already.

    Attributes:
        engine: the registry, for tests that change what is in it.
        children: server id -> its process.
    """

    command: ClassVar[Sequence[str]] = (*launching.TENANTRY, "serve")

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._url = env.get("TENANTRY_REGISTRY_URL", f"sqlite:///{folder}/registry.db")
        self.engine = open_patient(self._url)
        migrate(self.engine)
        self.operator = leading(self.engine)
        # Nobody would take their shards over, so stopping does not wait for that.
        own = {"TENANTRY_REGISTRY_URL": self._url, "TENANTRY_DRAIN_S": "0"}
        self._env = {**os.environ, **own, **env}
        self.children: dict[str, Child] = {}

    def start(self, *server_ids: str) -> None:
        """Start some, and wait until their leases are held."""
        for server_id in server_ids:
            self._spawn(server_id)
        for server_id in server_ids:
            self._wait(server_id)

    def stop(self, server_id: str) -> None:
        """End one, and wait until its lease is given back; the others go on."""
        self.children[server_id].stop(grace_s=PATIENCE_S)
        until(lambda: server_id not in self.live(), f"{server_id} has given its lease back")

    @contextmanager
    def environment(self, **env: str) -> Iterator[None]:
        """What starts with the block has these variables too."""
        former, self._env = self._env, {**self._env, **env}
        try:
            yield
        finally:
            self._env = former

    def _spawn(self, server_id: str) -> None:
        env = {**self._env, "TENANTRY_SERVER_ID": server_id}
        child = Child(list(self.command), log=self._folder / f"{server_id}.log", env=env)
        self.children[server_id] = child

    def _wait(self, server_id: str) -> None:
        self.children[server_id].wait_ready(lambda: server_id in self.live(), timeout_s=PATIENCE_S)

    def live(self) -> dict[str, Server]:
        """Those whose lease holds."""
        return {server_id: server for server_id, server in self._known().items() if server.live}

    def url(self, server_id: str) -> str:
        """The address of one of them."""
        return self._known()[server_id].endpoint

    def log(self, server_id: str) -> str:
        """What one of them has written."""
        return (self._folder / f"{server_id}.log").read_text()

    def add(self, user_id: str, model: Any, holder_id: str) -> str:
        """Assign a model to a user whose shard this server holds; returns the model id."""
        model_id = self.assign(user_id, model)
        self.operator.assign_shards({shard_of(user_id): Holding(holder_id)})
        return model_id

    def assign(self, user_id: str, model: Any, version: int = 1) -> str:
        """Have a model answer for a user from here on; returns the model id."""
        path = self._folder / f"{user_id}-{version}.joblib"
        joblib.dump(model, path)
        row = Assignment(user_id, f"uid-{user_id}", version, path.as_uri())
        self.operator.commit(Writes(assignments=[row]))
        return path.as_uri()

    def hold_all(self, holder_id: str) -> None:
        """Every shard is this server's, until `add` says otherwise."""
        self.operator.assign_shards(dict.fromkeys(range(SHARDS), Holding(holder_id)))

    def until_acknowledged(self) -> None:
        """Until every server that runs has in force what is in the registry, and knows of every other."""
        revision = max((holding.revision for holding in self.operator.shards().values()), default=0)

        def acknowledged() -> bool:
            known = self._known()
            return all(known[name].acked_revision >= revision for name in self.running())

        until(acknowledged, "every server has read the registry")
        until(lambda: all(map(self._knows_all, self.running())), "every server knows the others")

    def running(self) -> list[str]:
        """Those whose processes have not ended, however long their leases last."""
        return [server_id for server_id, child in self.children.items() if child.running]

    def _known(self) -> dict[str, Server]:
        """Those that were not forgotten: a lease of three seconds may be over for a moment."""
        return {server.server_id: server for server in servers_in(self.engine)}

    def _knows_all(self, server_id: str) -> bool:
        with urllib.request.urlopen(f"{self.url(server_id)}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return f"\ntenantry_peers {len(self.live()) - 1}.0\n" in text


@contextmanager
def running(folder: Path, count: int, kind: type[Servers] = Servers, /, **env: str) -> Iterator[Servers]:
    """`count` servers named server-0 and so on, ended with the block.

    Args:
        kind: another class, whose processes differ.
        env: further variables of all of them.
    """
    servers = kind(folder, env)
    try:
        servers.start(*(f"server-{number}" for number in range(count)))
        yield servers
    finally:
        stop_all(servers.children.values(), grace_s=10)
        servers.engine.dispose()
