"""Predictions on the wire: as they were, or refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.errors import PredictionFailed
from tenantry_server.kernels.arrays import Malformed
from tenantry_server.workers.calls import answers


@pytest.mark.parametrize(
    "predictions",
    [
        np.array([1.5, np.nan, np.inf]),
        np.array([[1, 2], [3, 4]], dtype=np.int32),
        np.array([True, False]),
        np.arange(6, dtype=">i8").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["low", "high"]),
        np.array(["low", None, 3], dtype=object),
        np.empty((0, 3)),
        np.array([1.25], dtype=np.float32),
    ],
    ids=lambda each: f"{each.dtype}{each.shape}",
)
def test_predictions_arrive_as_they_were(predictions: Any) -> None:
    seen, spent_s = answers.unpack(b"".join(answers.pack(predictions, 0.25)))
    assert spent_s == 0.25
    assert seen.shape == predictions.shape
    np.testing.assert_array_equal(seen, predictions)
    assert seen.dtype.kind == predictions.dtype.kind


def test_what_json_has_not_is_refused_in_words() -> None:
    with pytest.raises(PredictionFailed, match="can't be written as JSON"):
        answers.pack(np.array([{1, 2}], dtype=object), 0.0)


@given(st.binary(max_size=80))
def test_any_bytes_are_predictions_or_refused(body: bytes) -> None:
    try:
        seen, _ = answers.unpack(body)
    except Malformed:
        return
    assert isinstance(seen, np.ndarray)
