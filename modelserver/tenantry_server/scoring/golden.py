"""Golden rows: a model is the one that was trained only if it answers the card's rows as it did there."""

import math
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib import metadata
from typing import Any

import orjson

from tenantry.errors import AnswersDiffer
from tenantry.model import Predictions
from tenantry_server.cards.card import Card
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring.results import to_json

RELATIVE = 1e-6
"""Of an answer's size: more than other processors and libraries round, and less than what matters."""

_LONGEST_SHOWN = 60


def answers_of(score: Callable[[Payload], Predictions], payload: Payload) -> list[Any]:
    """Return what a model answers, as a client reads it.

    Raises:
        TenantryError: the model refused the rows, or failed.
    """
    return as_read(score(payload))


def as_read(predictions: Predictions) -> list[Any]:
    """Return predictions as a client reads them.

    Raises:
        PredictionFailed: they hold values that JSON has not.
    """
    answers: list[Any] = orjson.loads(to_json(predictions, bare=True))
    return answers


def compare(card: Card, seen: Sequence[Any], uri: str) -> None:
    """Compare answers to the example rows, or steps of a forecast, with those that the card has.

    Raises:
        AnswersDiffer: names the row, what was expected and what was seen, and other versions of libraries.
    """
    if len(card.answers) != len(seen):  # a card that was written by hand
        raise AnswersDiffer(uri, 0, f"{len(card.answers)} answers", f"{len(seen)}", skew(card.versions))
    for row, (expected, answer) in enumerate(zip(card.answers, seen, strict=True)):
        if not _is_close(expected, answer, card.relative, card.absolute):
            raise AnswersDiffer(uri, row, _shown(expected), _shown(answer), skew(card.versions))


def skew(versions: Mapping[str, str]) -> str:
    """Return in words which libraries have another version here than on the card; empty: none."""
    here = {name: version_here(name) for name in versions}
    return "; ".join(
        f"{name} {there} there, {here[name] or 'not installed'} here"
        for name, there in versions.items()
        if here[name] != there
    )


@lru_cache(maxsize=64)  # each takes a millisecond
def version_here(name: str) -> str:
    """Return the version of a distribution, or of Python; empty: not installed."""
    if name == "python":
        return platform.python_version()
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _is_close(expected: Any, seen: Any, relative: float, absolute: float) -> bool:
    if isinstance(expected, list) and isinstance(seen, list):
        return len(expected) == len(seen) and all(
            _is_close(*pair, relative, absolute) for pair in zip(expected, seen, strict=True)
        )
    if isinstance(expected, dict) and isinstance(seen, dict):
        return expected.keys() == seen.keys() and all(
            _is_close(value, seen[name], relative, absolute) for name, value in expected.items()
        )
    if _is_number(expected) and _is_number(seen):
        return math.isclose(expected, seen, rel_tol=relative, abs_tol=absolute)
    return type(expected) is type(seen) and bool(expected == seen)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
