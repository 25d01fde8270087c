"""Rows that each name a user and ask for a forecast."""

from collections.abc import Sequence
from typing import Any

from tenantry.errors import InvalidRequest
from tenantry.forecaster import MEAN
from tenantry.model import Rows
from tenantry_server.rows import forecast_request
from tenantry_server.rows.batch import Batch
from tenantry_server.rows.forecast_request import TIME, ForecastRequest
from tenantry_server.rows.payload import Payload


class ForecastBatch(Batch):
    """Rows of another batch, each of which is what the body of ``POST /forecast/{user_id}`` is, and a user.

    A member that is null is left out: in a table, each row has every column.

    Args:
        rows: as they were read.
    """

    one_by_one = True

    def __init__(self, rows: Batch) -> None:
        self._rows = rows
        self._asked: dict[int, ForecastRequest] = {}
        self.user_column = rows.user_column
        self.users, self.problems, self.shown = rows.users, rows.problems, rows.shown
        self.wide = rows.wide

    def free(self) -> None:
        """As `Batch.free`."""
        self._rows.free()
        while self._asked:
            self._asked.popitem()

    def records(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """As `Batch.records`."""
        return self._rows.records(rows)

    def matrix(self, rows: Sequence[int], names: Sequence[str], *, extra: bool) -> tuple[Rows, list[int]]:
        """Refuse: no row holds numbers for a model."""
        raise NotImplementedError

    def payload(self, rows: Sequence[int]) -> Payload:
        """As `Batch.payload`, of one row."""
        (row,) = rows
        (record,) = self._rows.records(rows)
        column = self.user_column
        members = {name: value for name, value in record.items() if name != column and value is not None}
        try:
            asked = self._asked[row] = forecast_request.of_document(members)
        except InvalidRequest as error:
            raise InvalidRequest(f"row {self.number(row)}: {error}") from None
        return asked

    def answers(self, rows: Sequence[int], predictions: list[Any]) -> Sequence[Any]:
        """Return the steps of one row, as the answer of ``POST /forecast/{user_id}`` has them."""
        (row,) = rows
        names = (TIME, MEAN, *map(str, self._asked[row].quantiles))
        return [[dict(zip(names, step, strict=True)) for step in predictions]]
