"""A controller over a real registry, with servers and sources that a test moves by hand."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, select

from tenantry import ModelId, TenantModel
from tenantry.errors import InvalidManifest, RegistryUnavailable
from tenantry.manifest.spec import ModelSource
from tenantry.registry import (
    Assignment,
    LoadReport,
    LoadState,
    OperatorRegistry,
    ServerRegistry,
    ServerReport,
    Writes,
    schema,
)
from tenantry.registry.engine import reading
from tenantry.stores.file_roots import ANYWHERE
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.control.controller import Controller
from tenantry_operator.declared import Declaration, Listing
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.policies.rules import NO_POLICIES, Policies
from tenantry_operator.settings import OperatorSettings
from tenantry_operator.tracing import Changes
from tests.support.databases.whole import whole

SOURCE = "a test"


def no_s3(source: ModelSource) -> ModelId:
    raise AssertionError(source)


class Server:
    """A model server's side of the registry, one step at a time."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.name = name
        self._registry = ServerRegistry(engine, name, endpoint=f"http://{name}", capacity_bytes=1 << 30)
        self.rows: dict[str, Assignment] = {}
        self.owners: dict[int, str] = {}
        self.revision = -1
        self.renew()
        self.read(whole(self._registry))
        self.renew()

    def follow(self) -> None:
        """Take in what changed, and say so."""
        self.read(self._registry.changes_since(self.revision))
        self.renew()

    def read(self, changes: Any) -> None:
        for row in changes.assignments:
            self.rows[row.user_id] = row
            if row.deleted:
                del self.rows[row.user_id]
        self.owners |= {shard: holding.server_id for shard, holding in changes.shards.items()}
        self.revision = changes.revision

    def renew(self, lease_s: float = 60.0) -> None:
        self._registry.renew(lease_s=lease_s, acked_revision=self.revision, report=ServerReport())

    def busy(self, **shares: float) -> None:
        """Say whom its core works for."""
        report = ServerReport(busiest=shares)
        self._registry.renew(lease_s=60.0, acked_revision=self.revision, report=report)

    def load(self, state: LoadState = LoadState.LOADED) -> None:
        """Say the same of every candidate that stands."""
        self.say(*(self.word(row.user_id, str(row.candidate_id), state) for row in self.candidates()))

    def candidates(self) -> list[Assignment]:
        return [row for row in self.rows.values() if row.candidate_id is not None]

    def word(self, user_id: str, model_id: str, state: LoadState = LoadState.LOADED) -> LoadReport:
        if state is LoadState.LOADED:
            return LoadReport(user_id, self.name, model_id, state, 1000)
        return LoadReport(user_id, self.name, model_id, state, None, "ArtifactInvalid", "no model")

    def say(self, *reports: LoadReport) -> None:
        self._registry.report(list(reports))

    def leave(self) -> None:
        self._registry.release()

    def answer(self, user_id: str) -> str | None:
        """What a request would be answered with."""
        row = self.rows.get(user_id)
        return None if row is None else row.model_id


class Rig:
    """An operator, its registry, and a folder of artifacts."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path
        self.declared: dict[str, Declaration] = {}
        self.absent: set[str] = set()
        self.policies: Policies | None = NO_POLICIES  # with which an operator begins
        self.changes: Changes | None = None  # how an operator that begins traces
        self.resolve: Callable[[ModelSource], ModelId] = Resolver(no_s3, ANYWHERE)
        self.restart()

    def gauge(self, name: str) -> float:
        """A metric without labels."""
        lines = dict(line.rsplit(" ", 1) for line in self.metrics.text().decode().splitlines())
        return float(lines[f"tenantry_operator_{name}"])

    def restart(self, registry: OperatorRegistry | None = None, **settings: Any) -> None:
        self.registry = registry or OperatorRegistry(self.engine, "test")
        self.registry.lead(SOURCE)
        chosen = OperatorSettings(retry_first_s=0.001, retry_last_s=0.001, **settings)
        self.metrics = OperatorMetrics(self.changes)
        self.controller = Controller(
            self.registry, self._resolve_now, chosen, self.metrics, policies=self.policies
        )

    def _resolve_now(self, source: ModelSource) -> ModelId:
        return self.resolve(source)  # a test may have replaced it since

    def publish(self, name: str, content: str) -> str:
        path = self.path / f"{name}.joblib"
        path.write_text(content)
        return f"file://{path}"

    def declare(self, name: str, content: str = "1", **over: Any) -> Declaration:
        """Publish an artifact and declare it for the user of the same name."""
        return self.manifest(name, uri=self.publish(name, content), **over)

    def manifest(
        self,
        name: str,
        *,
        uri: str,
        user: str | None = None,
        created_at: float = 100.0,
        namespace: str = "default",
        **spec: Any,
    ) -> Declaration:
        before = self.declared.get(f"uid-{name}")
        document = {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"userId": user or name, "model": {"uri": uri, **spec.pop("model", {})}, **spec},
        }
        declared = Declaration(
            f"uid-{name}",
            namespace,
            name,
            1 if before is None else before.generation + 1,
            created_at,
            TenantModel.parse(document),
        )
        return self.show(declared)

    def breaks(self, name: str) -> None:
        before = self.declared[f"uid-{name}"]
        problem = InvalidManifest("", "f.yaml:1: wrong")
        self.show(
            Declaration(
                before.uid, "default", name, before.generation + 1, before.created_at, None, problem
            )
        )

    def show(self, declared: Declaration) -> Declaration:
        self.declared[declared.uid] = declared
        self.absent.discard(declared.uid)
        return declared

    def delete(self, *names: str) -> None:
        for name in names:
            del self.declared[f"uid-{name}"]
            self.absent.add(f"uid-{name}")

    def listing(self) -> Listing:
        return Listing(dict(self.declared), frozenset(self.absent), complete=True)

    def step(self) -> None:
        """One pass with what is declared now, and as many as its look-ups take."""
        self.controller.step(self.listing())
        while self.controller.looking:
            self.controller.step()

    def until_ready(self, *servers: Server) -> None:
        """All that it takes when everything works."""
        for _ in range(4):
            self.step()
            for server in servers:
                server.follow()
                server.load()
                server.follow()
        self.step()

    # What stands in the registry

    def rows(self, table: Any) -> list[tuple[Any, ...]]:
        with reading(self.engine) as connection:
            return sorted((tuple(row) for row in connection.execute(select(table))), key=repr)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that an operator writes; its epoch aside."""
        tables = (schema.claims, schema.assignments, schema.shard_map, schema.loads)
        found = {table.name: self.rows(table) for table in tables}
        with reading(self.engine) as connection:
            found["revision"] = [tuple(connection.execute(select(schema.leader.c.revision)).one())]
        return found

    def row(self, user_id: str) -> Assignment:
        return self.registry.assignments([user_id])[user_id]

    def status(self, name: str) -> tuple[str, str | None]:
        """Its reason, and the model that it says is answering."""
        claim = next(c for c in self.registry.claims() if c.uid == f"uid-{name}")
        return claim.conditions[0]["reason"], claim.model_id

    def reason(self, name: str) -> str:
        return self.status(name)[0]


def sweep(rig: Rig) -> int:
    """The controller's own, made due now."""
    before = len(rig.rows(schema.assignments))
    rig.controller._sweep_at_s = time.monotonic()
    rig.step()
    return before - len(rig.rows(schema.assignments))


def source_of(rig: Rig, name: str) -> ModelSource:
    model = rig.declared[f"uid-{name}"].model
    assert model is not None
    return model.spec.model


class Flaky(OperatorRegistry):
    """Fails once, at the call that is chosen; before it wrote, or after."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, "flaky")
        self.fail_at: int | None = None
        self.after = False
        self.calls = 0

    def commit(self, writes: Writes) -> dict[str, int]:
        self.calls += 1
        fails = self.calls == self.fail_at
        if fails and not self.after:
            raise RegistryUnavailable("just now")
        revisions = super().commit(writes)
        if fails:
            raise RegistryUnavailable("it was written, and the answer was lost")
        return revisions


def resync(rig: Rig) -> None:
    """The controller's own, made due now."""
    rig.controller._resync_at_s = time.monotonic()
    rig.step()


def pass_time(rig: Rig, seconds: float) -> None:
    """Let what was planned come due, without waiting for it."""
    rig.controller._wake_due(time.monotonic() + seconds)


def statements(engine: Engine) -> list[str]:
    """Everything that goes to the database from here on."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return seen
