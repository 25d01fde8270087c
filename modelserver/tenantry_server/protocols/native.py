"""Tenantry's own protocol: `POST /predict/{user_id}`."""

from typing import Any

import numpy as np
import orjson
from aiohttp import web

from tenantry.errors import PredictionFailed
from tenantry.model import Predictions
from tenantry_server.protocols.service import Service
from tenantry_server.rows.json_payload import parse
from tenantry_server.wire import bodies, headers

PATH = "/predict/{user_id}"


def routes(service: Service) -> list[web.RouteDef]:
    """Return the one route of this protocol."""

    async def predict(request: web.Request) -> web.Response:
        body = await bodies.whole(request)
        payload = await service.read(body, parse)
        user_id, timeout_s = request.match_info["user_id"], service.timeout_s(request)
        answer = await service.predict(user_id, payload, timeout_s=timeout_s, body=body)
        return web.Response(
            body=await service.write(answer, lambda: to_json(answer.predictions, bare=payload.bare)),
            content_type="application/json",
            headers={headers.MODEL_ID: headers.value_of(answer.model_id)},
        )

    return [web.post(PATH, predict)]


def to_json(predictions: Predictions, *, bare: bool) -> bytes:
    """Write predictions as a JSON list, or as an object with the list as ``predictions``.

    Raises:
        PredictionFailed: they hold values that JSON has not.
    """
    dtype = predictions.dtype
    values: Any
    if dtype == np.float64 and predictions.flags.c_contiguous:
        values = predictions
    elif dtype.kind in "fiub":  # orjson writes these itself, in the machine's own byte order, to 64 bits
        native = np.dtype(np.float64) if dtype.itemsize > 8 else dtype.newbyteorder("=")
        values = np.ascontiguousarray(predictions, dtype=native)
    else:
        values = predictions.tolist()
    try:
        return orjson.dumps(values if bare else {"predictions": values}, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        raise PredictionFailed(f"the predictions can't be written as JSON: {error}") from None
