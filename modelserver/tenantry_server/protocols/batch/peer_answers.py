"""Reads what another server answers to a part of a batch: its rows stand in one answer with all others.

So one peer must not break the whole: a value that can't be written again, a row that it was not asked for,
or a step of a forecast that names another user, and its answer is none.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from tenantry.forecaster import MEAN
from tenantry_server.peers.answers.answer import PHRASES
from tenantry_server.protocols.batch.errors import Refusal
from tenantry_server.protocols.batch.inside import FORECAST, Form
from tenantry_server.rows.forecast_request import TIME

_SCALARS = frozenset({float, int, str, bool, type(None)})
_DEEPEST = 16  # of lists and objects in one prediction; orjson writes 254
_LONGEST = 4096  # characters of a message
_REASON = re.compile(r"[A-Za-z]{1,64}")
_QUANTILE = re.compile(r"[0-9][0-9.e-]{0,31}")


def read(
    body: bytes, form: Form, row_of: Mapping[int, int], user_column: str
) -> tuple[list[Any], dict[int, Refusal]] | None:
    """Read an answer.

    Args:
        form: what was asked.
        row_of: from the number of each row that was sent to the row; in their order.

    Returns:
        the value of each row in that order, and why rows have none; None: these are not theirs.
    """
    try:
        document = orjson.loads(body)
        values, refused = document[form.key], document["errors"]
        if type(values) is not list or type(refused) is not list or len(values) != len(row_of):
            return None
        errors = {row_of[each["row"]]: _refusal(each) for each in refused}
    except (ValueError, KeyError, TypeError):
        return None
    given = zip(row_of.values(), values, strict=True)
    if form is FORECAST:
        fine = all(row in errors or _is_forecast(value, user_column) for row, value in given)
    else:
        fine = all(type(value) in _SCALARS or _is_shallow(value, _DEEPEST) for _, value in given)
    return (values, errors) if fine else None


def _refusal(given: Mapping[str, Any]) -> Refusal:
    """Read why a row has no answer.

    Raises:
        ValueError, KeyError, TypeError: no server of ours says so.
    """
    status, reason, message = given["status"], given["reason"], given["message"]
    if type(status) is not int or status == 200 or status not in PHRASES:
        raise ValueError("not a status of a refusal")
    if _REASON.fullmatch(reason) is None or type(message) is not str:
        raise ValueError("not a reason or message")
    return Refusal(status, reason, message[:_LONGEST])


def _is_shallow(value: Any, deepest: int) -> bool:
    if type(value) in _SCALARS:
        return True
    inner = value.values() if type(value) is dict else value
    return deepest > 0 and all(_is_shallow(each, deepest - 1) for each in inner)


def _is_forecast(value: Any, user_column: str) -> bool:
    return type(value) is list and all(_is_step(step, user_column) for step in value)


def _is_step(step: Any, user_column: str) -> bool:
    """Return whether a step has a time, a mean and quantiles: it is written beside the name of its user."""
    if type(step) is not dict or not {TIME, MEAN} <= step.keys() or user_column in step:
        return False
    return all(
        type(value) in _SCALARS and (name in (TIME, MEAN) or _QUANTILE.fullmatch(name) is not None)
        for name, value in step.items()
    )
