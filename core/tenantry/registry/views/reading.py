"""The registry for readers without a role: no epoch, and nothing written."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Self, TypeVar

from sqlalchemy import Engine, func, or_, select

from tenantry.errors import RegistryMismatch
from tenantry.registry import schema as t
from tenantry.registry.access.bindings import BindingBook
from tenantry.registry.access.keys import KeyBook
from tenantry.registry.costs import CostBook
from tenantry.registry.engine import is_migrated, open_engine, reading
from tenantry.registry.faults import FaultBook, FaultState
from tenantry.registry.rows import Assignment, Claim, Holding, Server
from tenantry.registry.sql import assignment_from, claim_from, servers_in, shard_map

_T = TypeVar("_T")
_IN_LIST = 500  # bound parameters of one statement: well under SQLite's 32,766


class RegistryReader:
    """Reads what the operator and the servers wrote.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def of_existing(cls, url: str) -> Self:
        """Open a registry that is in use.

        Raises:
            RegistryMismatch: no operator has set it up yet, or the URL is not usable.
            RegistryUnavailable: the database does not answer.
        """
        engine = open_engine(url)
        try:
            _require_in_use(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; only for a reader that does not share its engine."""
        self._engine.dispose()

    def claims(self, *, named: str | None = None) -> list[Claim]:
        """Return every TenantModel that the operator knows, by namespace and name.

        Args:
            named: only those with this name or userId.
        """
        query = select(t.claims).order_by(t.claims.c.namespace, t.claims.c.name)
        if named is not None:
            query = query.where(or_(t.claims.c.user_id == named, t.claims.c.name == named))
        with reading(self._engine) as connection:
            return [claim_from(row) for row in connection.execute(query)]

    def count_claims(self) -> tuple[int, int]:
        """Return how many TenantModels have a model that answers, and how many are declared."""
        declared = select(func.count()).select_from(t.claims)
        answered = declared.where(t.claims.c.model_id.is_not(None))
        with reading(self._engine) as connection:
            return (
                connection.execute(answered).scalar_one(),
                connection.execute(declared).scalar_one(),
            )

    def count_degraded(self) -> int:
        """Return of how many users the model in force can't be loaded by some server."""
        ours = t.assignments.c
        in_force = (ours.user_id == t.faults.c.user_id) & (ours.model_id == t.faults.c.model_id)
        query = (
            select(func.count(t.faults.c.user_id.distinct()))
            .select_from(t.faults.join(t.assignments, in_force & ours.deleted.is_(False)))
            .where(t.faults.c.state != FaultState.DOUBTED.value)
        )
        with reading(self._engine) as connection:
            return int(connection.execute(query).scalar_one())

    def bindings(self) -> BindingBook:
        """Return the table of which namespace each user belongs to."""
        return BindingBook(self._engine)

    def keys(self) -> KeyBook:
        """Return the table of API keys."""
        return KeyBook(self._engine)

    def costs(self) -> CostBook:
        """Return the table of what tenants have cost."""
        return CostBook(self._engine)

    def faults(self) -> FaultBook:
        """Return the table of models that servers can't load."""
        return FaultBook(self._engine)

    def assignments(self, user_ids: Collection[str]) -> dict[str, Assignment]:
        """Return the rows of these users by user id, tombstones included."""
        found: dict[str, Assignment] = {}
        with reading(self._engine) as connection:
            for chunk in chunks(list(user_ids)):
                query = select(t.assignments).where(t.assignments.c.user_id.in_(chunk))
                found |= {row.user_id: assignment_from(row) for row in connection.execute(query)}
        return found

    def assigned(self) -> dict[str, Assignment]:
        """Return every row that is not a tombstone, by user id."""
        query = select(t.assignments).where(t.assignments.c.deleted.is_(False))
        with reading(self._engine) as connection:
            return {row.user_id: assignment_from(row) for row in connection.execute(query)}

    def model_sizes(self) -> dict[str, int]:
        """Return the bytes of every model that answers, by user id; 0 where it was never measured."""
        ours = t.assignments.c
        query = select(ours.user_id, ours.size_bytes).where(
            ours.deleted.is_(False), ours.model_id.is_not(None)
        )
        with reading(self._engine) as connection:
            return {user_id: size_bytes or 0 for user_id, size_bytes in connection.execute(query)}

    def shards(self) -> dict[int, Holding]:
        """Return the shard map; empty before the first server came."""
        with reading(self._engine) as connection:
            return shard_map(connection)

    def spread(self) -> dict[str, int]:
        """Return on how many servers the models of busy users are to be, by user id."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(t.spread.c.user_id, t.spread.c.replicas))
            return {row.user_id: row.replicas for row in rows}

    def servers(self) -> list[Server]:
        """Return every server that has not been forgotten, live or not, by name."""
        return servers_in(self._engine)


def _require_in_use(engine: Engine) -> None:
    path = engine.url.database or ""
    if engine.url.get_backend_name() == "sqlite" and not Path(path).is_file():
        raise RegistryMismatch(f"no registry at {path}; start one with `tenantry up FOLDER`")
    if not is_migrated(engine):
        raise RegistryMismatch("the registry is empty; start an operator first")


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut a list so that each part fits the parameters of one statement."""
    for start in range(0, len(items), _IN_LIST):
        yield items[start : start + _IN_LIST]
