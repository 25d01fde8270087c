"""Numbers of classes by the names of the classes, for models of one and of several outputs and methods."""

from typing import Any

import numpy as np
import pytest

from tenantry_server.protocols.class_names import named
from tenantry_server.scoring import results

PROBA = ["predict_proba"]
TWO_OUTPUTS = np.array([[[0.25, 0.75], [0.5, 0.5]]])
RAGGED = results.by_row([np.array([[0.25, 0.75]]), np.array([[0.5, 0.25, 0.25]])])


@pytest.mark.parametrize(
    ("predictions", "classes", "methods", "expected"),
    [
        (np.array([[0.25, 0.75]]), ["no", "yes"], PROBA, [{"no": 0.25, "yes": 0.75}]),
        (TWO_OUTPUTS, [["a", "b"], ["0", "1"]], PROBA, [[{"a": 0.25, "b": 0.75}, {"0": 0.5, "1": 0.5}]]),
        (
            RAGGED,
            [["a", "b"], ["0", "1", "2"]],
            PROBA,
            [[{"a": 0.25, "b": 0.75}, {"0": 0.5, "1": 0.25, "2": 0.25}]],
        ),
        (
            results.together({"predict": np.array(["no"]), "predict_proba": np.array([[0.75, 0.25]])}),
            ["no", "yes"],
            ["predict", "predict_proba"],
            [{"predict": "no", "predict_proba": {"no": 0.75, "yes": 0.25}}],
        ),
        (np.array([1.5]), ["no", "yes"], ["decision_function"], [1.5]),
        (np.array([[1.0, 2.0, 3.0]]), ["a", "b"], ["decision_function"], [[1.0, 2.0, 3.0]]),
        (np.empty((0, 2)), ["a", "b"], PROBA, []),
    ],
    ids=["one", "two outputs", "outputs that differ", "two methods", "one number", "pairs", "no rows"],
)
def test_each_number_stands_under_the_name_of_its_class(
    predictions: Any, classes: list[Any], methods: list[str], expected: list[Any]
) -> None:
    assert named(predictions, classes, methods).tolist() == expected
