"""Models in force that a server can't load: what servers write about them, and what everybody reads."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from secrets import randbelow

from sqlalchemy import Engine, bindparam, delete, func, select

from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.sql import storable, upsert

_GROUP = 200  # rows of one transaction: short locks, few commits
_MARKS = 1 << 31  # the sum of a million of them is far below what a column holds


@dataclass(frozen=True, slots=True)
class Fault:
    """A model in force that one server can't load.

    Attributes:
        user_id: whose model it is.
        server_id: the server that can't load it.
        model_id: the exact model.
        reason: of the error that its load ended with.
        message: of that error.
        retrying: time alone may mend it; if not, a person must act.
        at_s: when it was written, by the database's clock.
    """

    user_id: str
    server_id: str
    model_id: str
    reason: str
    message: str
    retrying: bool = False
    at_s: float = 0.0


class FaultBook:
    """The table of faults; each server writes its own rows, and those of servers that are gone.

    Every method blocks on SQL, and raises RegistryUnavailable where the database does not answer.

    Args:
        engine: an open registry whose tables exist.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen: tuple[int, int] | None = None

    def news(self) -> list[Fault] | None:
        """Return every fault, the oldest first; None where nothing changed since the last call."""
        table = t.faults
        with reading(self._engine) as connection:
            count, marks = connection.execute(select(func.count(), func.sum(table.c.mark))).one()
            seen = int(count), int(marks or 0)
            if seen == self._seen:
                return None
            rows = connection.execute(select(table).order_by(table.c.at, table.c.server_id)).all()
        self._seen = seen
        return [
            Fault(row.user_id, row.server_id, row.model_id, row.reason, row.message, row.retrying, row.at)
            for row in rows
        ]

    def write(self, broken: Sequence[Fault], mended: Collection[Fault]) -> None:
        """Write new faults, and remove those that are over."""
        gone = delete(t.faults).where(
            t.faults.c.user_id == bindparam("user"),
            t.faults.c.server_id == bindparam("server"),
            t.faults.c.model_id == bindparam("model"),
        )
        over = [
            {"user": fault.user_id, "server": fault.server_id, "model": fault.model_id} for fault in mended
        ]
        rows = [self._row(fault) for fault in broken]
        for start in range(0, max(len(over), len(rows)), _GROUP):
            with writing(self._engine) as connection:
                if over[start : start + _GROUP]:
                    connection.execute(gone, over[start : start + _GROUP])
                if rows[start : start + _GROUP]:
                    now = now_s(self._engine)
                    connection.execute(
                        upsert(self._engine, t.faults).values(at=now), rows[start : start + _GROUP]
                    )

    def _row(self, fault: Fault) -> dict[str, object]:
        return {
            "user_id": fault.user_id,
            "server_id": fault.server_id,
            "model_id": fault.model_id,
            "reason": storable(fault.reason, 64),
            "message": storable(fault.message, 2000),
            "retrying": fault.retrying,
            "mark": randbelow(_MARKS),
        }
