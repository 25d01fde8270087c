"""Models in force that a server can't load, or doubts: servers write them, and everybody reads them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from secrets import randbelow

from sqlalchemy import Engine, bindparam, delete, func, select

from tenantry.registry import schema as t
from tenantry.registry.engine import now_s, reading, writing
from tenantry.registry.sql import storable, upsert

_GROUP = 200  # rows of one transaction: short locks, few commits
_MARKS = 1 << 31  # the sum of a million of them is far below what a column holds


class FaultState(StrEnum):
    """What a fault means for the requests of its user."""

    STALLED = "stalled"  # this server can't load the model, and a person must act
    RETRYING = "retrying"  # it can't, and time alone may mend that
    DOUBTED = "doubted"  # it answers, and perhaps not as where it was trained


@dataclass(frozen=True, slots=True)
class Fault:
    """A model in force that one server can't load, or doubts.

    Attributes:
        user_id: whose model it is.
        server_id: the server that says so.
        model_id: the exact model.
        reason: of the error that its load ended with.
        message: of that error.
        state: whether it answers at all, and what ends the fault.
        at_s: when it was written, by the database's clock.
    """

    user_id: str
    server_id: str
    model_id: str
    reason: str
    message: str
    state: FaultState = FaultState.STALLED
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
            Fault(
                row.user_id,
                row.server_id,
                row.model_id,
                row.reason,
                row.message,
                FaultState(row.state),
                row.at,
            )
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
        new = upsert(self._engine, t.faults).values(at=now_s(self._engine))
        for statement, values in ((gone, over), (new, rows)):  # a fault of another kind may follow one
            for start in range(0, len(values), _GROUP):
                with writing(self._engine) as connection:
                    connection.execute(statement, values[start : start + _GROUP])

    def _row(self, fault: Fault) -> dict[str, object]:
        return {
            "user_id": fault.user_id,
            "server_id": fault.server_id,
            "model_id": fault.model_id,
            "reason": storable(fault.reason, 64),
            "message": storable(fault.message, 2000),
            "state": fault.state.value,
            "mark": randbelow(_MARKS),
        }
