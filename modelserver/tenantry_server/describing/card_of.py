"""Writes the card of an artifact: what it takes, and how it answers an example, tried as a server would."""

import sys
from dataclasses import replace
from typing import Any

import numpy as np

from tenantry import Model, ModelId, TenantryError
from tenantry.errors import NotPublished
from tenantry.model import Predictions
from tenantry_server.cards.card import Card, CardInvalid
from tenantry_server.describing import examples
from tenantry_server.formats import load_model
from tenantry_server.formats.sklearn import SklearnModel
from tenantry_server.scoring import golden, results
from tenantry_server.scoring.calls import score

_EXAMPLE = "example"
_LIBRARIES = {
    "sklearn": "scikit-learn",
    "numpy": "numpy",
    "pandas": "pandas",
    "scipy": "scipy",
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "onnxruntime": "onnxruntime",
    "tensorflow": "tensorflow",
}


def card_of(data: bytes, model_id: ModelId, example: Any, *, model: Any = None) -> Card:
    """Return the card of an artifact whose model was fitted with rows like the example's.

    Args:
        data: the artifact.
        model_id: how it is to be used.
        example: rows of what the model was fitted with: a DataFrame, a two-dimensional array, a Series or
            list of texts, or a list of dicts. The first 20 become example rows.
        model: the estimator or Model that the artifact was written from, where it is at hand: a server must
            answer what it answers itself.

    Raises:
        NotPublished: the example is of no such form, the model fails on it, or a server would answer
            otherwise than the model itself.
        ArtifactInvalid: it is not a model.
    """
    try:
        form = examples.form_of(example)
        few = example[: examples.MOST_ROWS]
        frame = examples.frame_of(few, form)
        unanswered = Card(
            form=form,
            columns=examples.columns_of(frame, form),
            rows=examples.rows_of(frame, form, few),
            answers=[],
            method=model_id.method or "predict",
            relative=golden.RELATIVE,
            absolute=0.0,
            versions=_versions(),
            statistics=examples.statistics_of(examples.frame_of(example, form)),
        )
    except CardInvalid as error:
        raise NotPublished(_EXAMPLE, str(error)) from None
    if not unanswered.rows:
        raise NotPublished(_EXAMPLE, "the example has no rows")
    served = load_model(data, model_id, replace(unanswered, rows=[]).to_json())
    try:
        answers = golden.answers_of(lambda payload: score(served, payload), unanswered.payload())
    except TenantryError as error:
        raise NotPublished(_EXAMPLE, f"a server could not answer the example: {error}") from error
    card = replace(unanswered, answers=answers, absolute=_absolute(answers))
    if model is not None:
        _check_itself(card, model, few)
    return card


def _check_itself(card: Card, model: Any, example: Any) -> None:
    """Ask the model itself, as its author would, and compare."""
    name = type(model).__name__
    try:
        own = golden.as_read(_answers_itself(card, model, example))
    except TenantryError as error:
        raise NotPublished(_EXAMPLE, str(error)) from error
    except Exception as error:
        problem = f"the {name} itself fails on the example: {type(error).__name__}: {error}"
        raise NotPublished(_EXAMPLE, problem) from error
    try:
        golden.compare(replace(card, answers=own), card.answers, name)
    except TenantryError as error:
        problem = f"a server would answer otherwise than the model itself: {error}"
        raise NotPublished(_EXAMPLE, problem) from None


def _answers_itself(card: Card, model: Any, example: Any) -> Predictions:
    name, count = type(model).__name__, len(card.rows)
    if isinstance(model, Model):
        return results.of(model.predict(example), count, name)
    answers = {
        method: results.of(SklearnModel(model, method).ask(example), count, name)
        for method in card.method.split(",")
    }
    return results.together(answers) if len(answers) > 1 else answers[card.method]


def _versions() -> dict[str, str]:
    libraries = [name for module, name in _LIBRARIES.items() if module in sys.modules]
    found = {name: golden.version_here(name) for name in ("python", *libraries)}
    return {name: version for name, version in found.items() if version}


def _absolute(answers: list[Any]) -> float:
    """Return how much answers near zero may differ: a billionth of the largest one."""
    numbers = np.abs(np.asarray(_numbers(answers), dtype=np.float64))
    finite = numbers[np.isfinite(numbers)]
    return float(finite.max()) * 1e-9 if len(finite) else 0.0


def _numbers(answer: Any) -> list[float]:
    if isinstance(answer, list):
        return [number for each in answer for number in _numbers(each)]
    if isinstance(answer, dict):
        return _numbers(list(answer.values()))
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return [float(answer)]
    return []
