"""Writes the card of an artifact: what it takes, and how it answers an example, tried as a server would."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from tenantry import Model, ModelId, TenantryError
from tenantry.errors import NotPublished
from tenantry.model import Predictions
from tenantry.model_id import DEFAULT_METHOD
from tenantry_server.cards.card import Card, CardInvalid
from tenantry_server.describing import examples, forecast_card
from tenantry_server.describing.versions import absolute_of, versions_here
from tenantry_server.formats import load_model
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.scoring import golden, results
from tenantry_server.scoring.calls import score

_EXAMPLE = "example"


def card_of(data: bytes, model_id: ModelId, example: Any, *, model: Any = None) -> Card:
    """Return the card of an artifact whose model was fitted with rows like the example's.

    Args:
        data: the artifact.
        model_id: how it is to be used.
        example: rows of what the model was fitted with: a DataFrame, a two-dimensional array, a Series or
            list of texts, or a list of dicts. The first 20 become example rows. Of a forecaster, a request
            for a forecast, such as ``{"horizon": 14}``.
        model: the estimator or Model that the artifact was written from, where it is at hand: a server must
            answer what it answers itself.

    Raises:
        NotPublished: the example is of no such form, the model fails on it, or a server would answer
            otherwise than the model itself.
        ArtifactInvalid: it is not a model.
    """
    if isinstance(example, Mapping) and "horizon" in example:
        return forecast_card.card_of(data, model_id, example, model=model)
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
            versions=versions_here(),
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
    classes = _classes(model if model is not None else _itself(data, model_id))
    card = replace(unanswered, answers=answers, absolute=absolute_of(answers), classes=classes)
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


def _itself(data: bytes, model_id: ModelId) -> Any:
    """Return the estimator of an artifact where that has classes to tell."""
    if model_id.methods == (DEFAULT_METHOD,):
        return None
    loaded = load_model(data, replace(model_id, compile="off", method=model_id.methods[0]))
    return getattr(loaded, "estimator", None)


def _classes(estimator: Any) -> list[Any] | None:
    """Return the names of an estimator's classes, as the keys of a JSON object."""
    found = getattr(estimator, "classes_", None)
    if found is None:
        return None
    outputs = list(found)
    if outputs and isinstance(outputs[0], np.ndarray | list):
        return [[_name(label) for label in np.asarray(each).tolist()] for each in outputs]
    return [_name(label) for label in np.asarray(found).tolist()]


def _name(label: Any) -> str:
    return label if isinstance(label, str) else orjson.dumps(label).decode()
