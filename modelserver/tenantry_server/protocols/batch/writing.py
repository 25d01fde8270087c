"""The answers of a batch in each form, written a few thousand rows at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from tenantry.forecaster import MEAN
from tenantry_server.predicting.together import Answers
from tenantry_server.protocols.batch import errors
from tenantry_server.protocols.batch.errors import Refusal
from tenantry_server.protocols.batch.inside import FORECAST, Form
from tenantry_server.rows.arrow import writing as arrow_writing
from tenantry_server.rows.batch import AT_ONCE, Batch
from tenantry_server.rows.forecast_request import TIME
from tenantry_server.scoring.results import joined

PREDICTION, ERROR, REASON, STATUS = "prediction", "error", "reason", "status"
RESERVED = (PREDICTION, ERROR, REASON, STATUS, TIME, MEAN)
"""Columns of an answer that is a table, beside the column of the user."""

Refusals: TypeAlias = dict[int, Refusal]
Columns: TypeAlias = tuple[list[dict[str, Any]], list[npt.NDArray[Any]]]
_ANSWERED = {ERROR: None, REASON: None, STATUS: 200}
_NOTHING: dict[str, dict[str, Any]] = {
    "predictions": {PREDICTION: None},
    "forecasts": {TIME: None, MEAN: None},
}


def as_json(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> bytes:
    """Write ``{"predictions": […], "errors": […]}``."""
    listed = answers.values()
    values = (listed[first : first + AT_ONCE] for first in range(0, len(batch), AT_ONCE))
    refused = list(refusals)
    described = (
        errors.listed(batch, refusals, refused[first : first + AT_ONCE])
        for first in range(0, len(refused), AT_ONCE)
    )
    refused_ = joined(b'],"errors":[', [orjson.dumps(some)[1:-1] for some in described], b"]}")
    return joined(b'{"%b":[' % form.key.encode(), [orjson.dumps(some)[1:-1] for some in values], refused_)


def as_lines(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> bytes:
    """Write the records, a line each."""
    records = as_records(form, batch, answers, refusals)
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def as_records(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> Iterator[dict[str, Any]]:
    """Iterate over the rows of the answer as a table; of forecasts, one for each user and step."""
    column = batch.user_column
    for row, (user_id, value) in enumerate(zip(batch.users, answers.values(), strict=True)):
        refusal = refusals.get(row)
        user = {column: user_id}
        if refusal is not None:
            said = {ERROR: refusal.message, REASON: refusal.reason, STATUS: refusal.status}
            yield user | _NOTHING[form.key] | said
        elif form is FORECAST:
            for step in value:
                yield user | step | _ANSWERED
        else:
            yield {column: user_id, PREDICTION: value, ERROR: None, REASON: None, STATUS: 200}


def as_arrow(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> bytes | Columns:
    """Write predictions as an Arrow stream; what are not all numbers or texts, as columns for a worker."""
    written = None if form is FORECAST else _stream(batch, answers, refusals)
    return as_columns(form, batch, answers, refusals) if written is None else written


def _stream(batch: Batch, answers: Answers, refusals: Refusals) -> bytes | None:
    values: Any = answers.numbers()
    if values is None:
        listed = answers.values()
        kinds = {*map(type, listed)} - {type(None)}
        if kinds == {int}:
            values = _numbers(listed)
        elif kinds <= {str}:
            values = listed
        elif kinds == {float}:  # some of them from another server
            values = np.array(listed, np.float64)
        if values is None:
            return None
    table: dict[str, Any] = {batch.user_column: batch.users, PREDICTION: values}
    table[ERROR], table[REASON], table[STATUS] = _refused(len(batch), refusals)
    return arrow_writing.write(table, len(batch))


def _refused(rows: int, refusals: Refusals) -> tuple[list[str | None], list[str | None], npt.NDArray[Any]]:
    """Return the columns of errors: messages, reasons and statuses."""
    messages: list[str | None] = [None] * rows
    reasons: list[str | None] = [None] * rows
    statuses = np.full(rows, 200)
    for row, refusal in refusals.items():
        messages[row], reasons[row], statuses[row] = refusal.message, refusal.reason, refusal.status
    return messages, reasons, statuses


def as_columns(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> Columns:
    """Return the records as columns for a worker that writes a table: what they are, and the arrays."""
    column = batch.user_column
    if form is FORECAST:
        table = _by_name(as_records(form, batch, answers, refusals), (column, TIME, MEAN))
    else:
        table = {column: list(batch.users), PREDICTION: answers.values()}
        messages, reasons, statuses = _refused(len(batch), refusals)
        table |= {ERROR: messages, REASON: reasons, STATUS: statuses.tolist()}
    described: list[dict[str, Any]] = []
    made: list[npt.NDArray[Any]] = []
    for name, values in table.items():
        numbers = _numbers(values)
        parts = _texts(values) if numbers is None else [numbers]
        text = name in (column, ERROR, REASON)
        described.append({"name": name, "parts": len(parts), "json": numbers is None, "text": text})
        made += parts
    return described, made


def _by_name(records: Iterator[dict[str, Any]], first: Sequence[str]) -> dict[str, list[Any]]:
    """Return records as columns; what a record has not is None. The last ones are those of errors."""
    table: dict[str, list[Any]] = {name: [] for name in first}
    last: dict[str, list[Any]] = {name: [] for name in _ANSWERED}
    for place, record in enumerate(records):
        for name, value in record.items():
            column = last[name] if name in last else table.get(name)
            if column is None:
                column = table[name] = [None] * place
            column.append(value)
        for column in table.values():
            if len(column) <= place:
                column.append(None)
    return table | last


def _numbers(values: Sequence[Any]) -> npt.NDArray[Any] | None:
    """Return float64, or int64, where all values are such numbers; floats may be missing, which is NaN."""
    kinds = {*map(type, values)}
    if kinds == {int}:
        try:
            return np.array(values, np.int64)
        except OverflowError:
            return None
    if kinds and kinds <= {float, type(None)} and float in kinds:
        return np.array(values, np.float64)
    return None


def _texts(values: Sequence[Any]) -> list[npt.NDArray[Any]]:
    """Return JSON lists, each of some thousand values."""
    pieces = (values[first : first + AT_ONCE] for first in range(0, len(values), AT_ONCE))
    return [np.frombuffer(orjson.dumps(piece), np.uint8) for piece in pieces]
