"""Which namespace a user belongs to: the one that declared it first, until an admin releases the user.

The operator writes bindings with the decisions that they follow from (`OperatorRegistry.commit`). Admins
ask for releases here, and the operator carries them out.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, Engine, delete, insert, select

from tenantry.registry import schema as t
from tenantry.registry.engine import reading, writing
from tenantry.registry.sql import upsert


class BindingBook:
    """The tables of bindings and of releases.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self) -> dict[str, str]:
        """Return the namespace of every user that has one, by user id."""
        with reading(self._engine) as connection:
            query = select(t.bindings.c.user_id, t.bindings.c.namespace).order_by(t.bindings.c.user_id)
            return {row.user_id: row.namespace for row in connection.execute(query)}

    def release(self, user_ids: Collection[str]) -> None:
        """Ask the operator to release these users; it does so within about a second."""
        with writing(self._engine) as connection:
            rows = [{"user_id": user_id} for user_id in sorted(user_ids)]
            if rows:
                asked = [row["user_id"] for row in rows]
                connection.execute(delete(t.releases).where(t.releases.c.user_id.in_(asked)))
                connection.execute(insert(t.releases), rows)

    def released(self) -> list[str]:
        """Return the users that are to be released."""
        with reading(self._engine) as connection:
            return list(connection.execute(select(t.releases.c.user_id)).scalars())


def bind(connection: Connection, bindings: Mapping[str, str], released: Sequence[str]) -> None:
    """Write within a transaction of the operator: first what was released, then what is bound."""
    if released:
        for table in (t.bindings, t.releases):
            connection.execute(delete(table).where(table.c.user_id.in_(released)))
    if bindings:
        rows = [{"user_id": user, "namespace": namespace} for user, namespace in bindings.items()]
        connection.execute(upsert(connection.engine, t.bindings), rows)
