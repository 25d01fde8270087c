"""What each tenant has cost: CPU and memory by day, which servers add to every hour and people read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from tenantry.registry import schema as t
from tenantry.registry.engine import reading, writing

OTHERS = ""
"""The user id of the row for all tenants that a server did not count one by one."""

GROUP = 200
"""Rows of one transaction: short locks."""

KEPT_DAYS = 62
"""This month and the one before, whole."""

_SUMS = ("requests", "errors", "cpu_s", "byte_hours")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one tenant has cost, over some days and all servers.

    Attributes:
        user_id: the tenant; `OTHERS` for those that were not counted one by one.
        requests: predictions and forecasts, errors included.
        errors: of these, those that failed.
        cpu_s: CPU seconds of its model.
        byte_hours: bytes of its model in memory, times the hours that it was there.
    """

    user_id: str
    requests: int
    errors: int
    cpu_s: float
    byte_hours: float


class CostBook:
    """The table of costs; each server adds to its own rows, and the operator forgets old days.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, server_id: str, day: date, costs: Sequence[Cost]) -> None:
        """Add costs to what a server has written for a day, in one transaction.

        Args:
            costs: `GROUP` of them at most.

        Raises:
            RegistryUnavailable: nothing was written, unless the answer to the commit alone was lost.
        """
        rows = [
            {"day": day.isoformat(), "server_id": server_id, "user_id": cost.user_id}
            | {name: getattr(cost, name) for name in _SUMS}
            for cost in costs
        ]
        with writing(self._engine) as connection:
            connection.execute(self._adding(), rows)

    def between(self, first: date, last: date, *, user_id: str | None = None) -> list[Cost]:
        """Return the costs of these days, the last one included, by user id.

        Args:
            user_id: of this tenant alone.
        """
        table = t.costs.c
        sums = [func.sum(table[name]).label(name) for name in _SUMS]
        query = (
            select(table.user_id, *sums)
            .where(table.day.between(first.isoformat(), last.isoformat()))
            .group_by(table.user_id)
            .order_by(table.user_id)
        )
        if user_id is not None:
            query = query.where(table.user_id == user_id)
        with reading(self._engine) as connection:
            return [
                Cost(row.user_id, int(row.requests), int(row.errors), row.cpu_s, row.byte_hours)
                for row in connection.execute(query)
            ]

    def _adding(self) -> Insert:
        table = t.costs
        if self._engine.dialect.name == "postgresql":
            insert: postgresql.Insert | sqlite.Insert = postgresql.insert(table)
        else:
            insert = sqlite.insert(table)
        keys = [column.name for column in table.primary_key]
        sums = {name: table.c[name] + insert.excluded[name] for name in _SUMS}
        return insert.on_conflict_do_update(index_elements=keys, set_=sums)


def oldest_kept(now_s: float) -> date:
    """Return the first day that is kept.

    Example:
        >>> oldest_kept(1_796_000_000.0)
        datetime.date(2026, 9, 29)
    """
    return datetime.fromtimestamp(now_s, UTC).date() - timedelta(days=KEPT_DAYS)
