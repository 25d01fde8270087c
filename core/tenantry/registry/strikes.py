"""Models that ended a worker, as every server wrote them down: all of them count against the model."""

from collections.abc import Sequence

from sqlalchemy import Engine, delete, select

from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.rows import StrikeReport
from tenantry.registry.sql import storable

_KEPT_S = 3600.0


class StrikeBook:
    """The table of strikes; each server adds rows, and reads those of all.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def write(self, reports: Sequence[StrikeReport]) -> None:
        """Write down models that ended a worker, and forget those of more than an hour ago."""
        now = now_s(self._engine)
        with writing(self._engine) as connection:
            connection.execute(delete(t.strikes).where(t.strikes.c.at < now - _KEPT_S))
            for report in reports:
                row = {"model_id": report.model_id, "writer": report.writer, "at": now - report.age_s}
                connection.execute(t.strikes.insert().values(row | {"how": storable(report.how, 1000)}))

    def within(self, seconds: float) -> list[StrikeReport]:
        """Return what all servers wrote down in the last seconds, the oldest first."""
        now = now_s(self._engine)
        age = (now - t.strikes.c.at).label("age")
        query = select(t.strikes, age).where(t.strikes.c.at > now - seconds).order_by(t.strikes.c.id)
        with reading(self._engine) as connection:
            return [
                StrikeReport(row.model_id, row.how, max(0.0, row.age), row.id, row.writer)
                for row in connection.execute(query)
            ]
