"""Where a prediction is computed: on the event loop where that is known to take next to nothing."""

import threading

import numpy as np
import orjson
import pytest

from tenantry import Model
from tenantry.model import Predictions, Rows
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.kernels.affine import Affine
from tenantry_server.kernels.base import Head
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows.json_payload import JsonPayload, parse

NAMES = tuple(f"c{n}" for n in range(200))


class Noted(Affine):
    """A linear kernel that notes in which threads it was asked."""

    __slots__ = ("threads",)

    def __init__(self, outputs: int) -> None:
        head = Head(NAMES, len(NAMES), accepts_missing=False)
        super().__init__(head, np.ones((len(NAMES), outputs)), 0.0)
        self.threads: list[threading.Thread] = []

    def predict_rows(self, rows: Rows) -> Predictions:
        self.threads.append(threading.current_thread())
        return super().predict_rows(rows)


class Wide(JsonPayload):
    """One row that may be as long as a body may be."""

    __slots__ = ()
    large = True


class One(ModelRepository):
    def __init__(self, model: Model) -> None:
        self._model = model

    def get_model(self, model_id: str) -> Model:  # noqa: ARG002 - the interface
        return self._model


class Everybody(ModelInfoRepository):
    def get_model_id_by_user_id(self, user_id: str) -> str:  # noqa: ARG002 - the interface
        return "one"


@pytest.mark.parametrize(
    ("outputs", "kind", "here"),
    [(1, JsonPayload, True), (2000, JsonPayload, False), (1, Wide, False)],
    ids=["small", "a large model", "a large body"],
)
async def test_the_first_prediction_of_a_linear_kernel_waits_for_no_thread_if_it_is_small(
    outputs: int, kind: type[JsonPayload], *, here: bool
) -> None:
    model = Noted(outputs)
    plane = DataPlane(Everybody(), CachedModelRepository(One(model), bounded_cache(1 << 30)))
    rows = parse(orjson.dumps([dict.fromkeys(NAMES, 1.0)])).rows
    payload = kind(records=True, columns=None, rows=rows, bare=True)
    answer = await plane.predict("ann", payload, timeout_s=60)
    assert answer.predictions.tolist() == [[200.0] * outputs]
    assert [thread is threading.main_thread() for thread in model.threads] == [here]
    plane.close()
