"""Probabilities by the names of their classes, where a request asks for that: ``?classes=names``.

The names are those of the model's card. Each such request reads it: a server needs them for nothing else.
"""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from tenantry import ModelId
from tenantry.errors import CardNotFound, InvalidRequest, ModelLoading
from tenantry.model import Predictions
from tenantry_server.predicting.answer import Answer
from tenantry_server.protocols.service import Service
from tenantry_server.rows.payload import Payload, short
from tenantry_server.scoring import results

QUERY = "classes"
_NAMES = "names"
_OF_CLASSES = ("predict_proba", "decision_function")
_TRIES = 3  # of a request, while one version takes the place of another


def are_asked(request: web.Request) -> bool:
    """Return whether a request asks for names.

    Raises:
        InvalidRequest: it asks for something else.
    """
    given = request.query.get(QUERY)
    if given not in (None, _NAMES):
        raise InvalidRequest(f"the query's {QUERY!r} must be {_NAMES!r}, got {short(given)}")
    return given is not None


async def predict(
    service: Service, user_id: str, payload: Payload, *, timeout_s: float, body: bytes
) -> Answer:
    """Predict, with a number for each class under its name.

    Raises:
        CardNotFound: the model has no card.
        InvalidRequest: its card names no classes, or it is not asked for a number of each.
        TenantryError: as `Service.predict` says.
    """
    for _ in range(_TRIES):
        card, model_id = await service.plane.models.card_of(user_id)
        if card is None:
            raise CardNotFound(user_id)
        methods = ModelId.parse(model_id).methods
        if card.classes is None or not set(methods) & set(_OF_CLASSES):
            raise InvalidRequest(
                f"the model answers with {' and '.join(methods)}, and its card names no classes for that"
            )
        answer = await service.predict(user_id, payload, timeout_s=timeout_s, body=body)
        if answer.model_id == model_id:
            return Answer(named(answer.predictions, card.classes, methods), model_id)
    raise ModelLoading(user_id, timeout_s)


def named(predictions: Predictions, classes: Sequence[Any], methods: Sequence[str]) -> Predictions:
    """Return predictions with an object in the place of each list that has a number for each class.

    Args:
        classes: names; of several outputs, a list for each.

    Example:
        >>> import numpy as np
        >>> named(np.array([[0.25, 0.75]]), ["no", "yes"], ["predict_proba"]).tolist()
        [{'no': 0.25, 'yes': 0.75}]
    """
    given = results.by_method(predictions, methods)
    by_name = {
        method: results.listed([_named(value, classes) for value in answers.tolist()])
        if method in _OF_CLASSES
        else answers
        for method, answers in given.items()
    }
    return results.together(by_name) if len(methods) > 1 else by_name[methods[0]]


def _named(value: Any, classes: Sequence[Any]) -> Any:
    if not isinstance(value, list) or len(value) != len(classes):
        return value  # one number for two classes, or one for each pair
    if classes and isinstance(classes[0], list):
        return [_named(each, names) for each, names in zip(value, classes, strict=True)]
    return dict(zip(classes, value, strict=True))
