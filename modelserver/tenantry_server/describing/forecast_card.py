"""Writes the card of a forecaster: an example request, and the steps that it answers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tenantry import Forecaster, ModelId, TenantryError
from tenantry.errors import ArtifactInvalid, InvalidRequest, NotPublished
from tenantry_server.cards.card import Card, Form
from tenantry_server.describing.versions import absolute_of, versions_here
from tenantry_server.formats import adapters, load_model
from tenantry_server.rows import forecast_request
from tenantry_server.scoring import golden
from tenantry_server.scoring.calls import score

_EXAMPLE = "example"


def card_of(data: bytes, model_id: ModelId, example: Mapping[str, Any], *, model: Any = None) -> Card:
    """Return the card of an artifact that holds a forecaster.

    Args:
        data: the artifact.
        model_id: how it is to be used.
        example: a request as ``POST /forecast`` takes it, such as ``{"horizon": 14}``.
        model: what the artifact was written from, where it is at hand.

    Raises:
        NotPublished: the example is not such a request, the model refuses it, or a server would answer
            otherwise than the model itself.
        ArtifactInvalid: it is not a model.
    """
    try:
        asked = forecast_request.of_document(dict(example))
    except InvalidRequest as error:
        raise NotPublished(_EXAMPLE, str(error)) from None
    served = load_model(data, model_id)
    try:
        answers = golden.answers_of(lambda payload: score(served, payload), asked)
        own = None if model is None else golden.as_read(score(_itself(model, model_id), asked))
    except ArtifactInvalid:
        raise
    except TenantryError as error:
        raise NotPublished(_EXAMPLE, f"a server could not answer the example: {error}") from error
    card = Card(
        form=Form.SERIES,
        columns=(),
        rows=[],
        answers=answers,
        method="predict",
        relative=golden.RELATIVE,
        absolute=absolute_of([step[1:] for step in answers]),
        versions=versions_here(),
        statistics={},
        forecast=asked.document(),
    )
    if own is not None:
        try:
            golden.compare(replace(card, answers=own), answers, type(model).__name__)
        except TenantryError as error:
            problem = f"a server would answer otherwise than the model itself: {error}"
            raise NotPublished(_EXAMPLE, problem) from None
    return card


def _itself(model: Any, model_id: ModelId) -> Any:
    return model if isinstance(model, Forecaster) else adapters.adapted(model, model_id)
