"""The answers of a batch in each form, written a few thousand rows at a time."""

from collections.abc import Iterator
from typing import Any

import orjson

from tenantry.forecaster import MEAN
from tenantry_server.predicting.batches import Answers
from tenantry_server.protocols.batch import errors
from tenantry_server.protocols.batch.errors import Refusal
from tenantry_server.protocols.batch.inside import FORECAST, Form
from tenantry_server.rows.batch import AT_ONCE, Batch
from tenantry_server.rows.forecast_request import TIME

PREDICTION, ERROR, REASON, STATUS = "prediction", "error", "reason", "status"
RESERVED = (PREDICTION, ERROR, REASON, STATUS, TIME, MEAN)
"""Columns of an answer that is a table, beside the column of the user."""

Refusals = dict[int, Refusal]
_ANSWERED = {ERROR: None, REASON: None, STATUS: 200}
_NOTHING: dict[str, dict[str, Any]] = {
    "predictions": {PREDICTION: None},
    "forecasts": {TIME: None, MEAN: None},
}


def as_json(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> bytes:
    """Write ``{"predictions": […], "errors": […]}``."""
    values = (answers.values[first : first + AT_ONCE] for first in range(0, len(batch), AT_ONCE))
    refused = list(refusals)
    described = (
        errors.listed(batch, refusals, refused[first : first + AT_ONCE])
        for first in range(0, len(refused), AT_ONCE)
    )
    return b'{"%b":[%b],"errors":[%b]}' % (
        form.key.encode(),
        b",".join(orjson.dumps(some)[1:-1] for some in values),
        b",".join(orjson.dumps(some)[1:-1] for some in described),
    )


def as_lines(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> bytes:
    """Write the records, a line each."""
    records = as_records(form, batch, answers, refusals)
    return b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records)


def as_records(form: Form, batch: Batch, answers: Answers, refusals: Refusals) -> Iterator[dict[str, Any]]:
    """Iterate over the rows of the answer as a table; of forecasts, one for each user and step."""
    column = batch.user_column
    for row, (user_id, value) in enumerate(zip(batch.users, answers.values, strict=True)):
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
