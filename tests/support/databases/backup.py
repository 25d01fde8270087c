"""A backup of a registry's rows, and its restore: what a failover that loses commits leaves behind."""

from typing import Any

from sqlalchemy import Engine, insert, select

from tenantry.registry import schema
from tenantry.registry.engine import reading, writing


class Backup:
    """Every row, as it is now."""

    def __init__(self, engine: Engine) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        with reading(engine) as connection:
            for name, table in schema.metadata.tables.items():
                found = connection.execute(select(table))
                self._rows[name] = [dict(row._mapping) for row in found]

    def restore(self, engine: Engine) -> None:
        """Undo every commit since, in one transaction."""
        with writing(engine) as connection:
            for name, table in schema.metadata.tables.items():
                connection.execute(table.delete())
                if self._rows[name]:
                    connection.execute(insert(table), self._rows[name])
