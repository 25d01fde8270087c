"""Rows as requests."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry.client import RequestRefused, questions
from tenantry.client.answers import Reply, predictions
from tenantry.errors import InvalidManifest
from tenantry.manifest.spec import TenantModel

TIME = pd.Timestamp("2026-11-29T14:00:00")


def sent(rows: Any) -> Any:
    body = questions.predict("ann", rows, class_names=False, fresh=False).body
    assert body is not None
    return json.loads(body)


@pytest.mark.parametrize(
    ("rows", "document"),
    [
        ([], []),
        ([{"km": 5, "city": "Ulm"}], [{"km": 5, "city": "Ulm"}]),
        ([{"km": np.float64("nan"), "n": np.int8(3), "ok": np.True_}], [{"km": None, "n": 3, "ok": True}]),
        ([{"km": Decimal("1.5"), "at": TIME}], [{"km": 1.5, "at": "2026-11-29T14:00:00"}]),
        ([[1, 2.5]], {"instances": [[1, 2.5]]}),
        ([np.array([1, 2])], {"instances": [[1, 2]]}),
        (np.array([[1.0, np.nan]]), {"instances": [[1.0, None]]}),
        (np.empty((0, 3)), {"instances": []}),
        (pd.DataFrame({"b": [1, 2], "a": [0.1 + 0.2, np.nan]}),
         {"columns": ["b", "a"], "data": [[1, 0.30000000000000004], [2, None]]}),
        (pd.DataFrame({"t": [TIME, pd.NaT], "c": pd.Categorical(["x", None]), "n": pd.array([1, None])}),
         {"columns": ["t", "c", "n"], "data": [["2026-11-29T14:00:00", "x", 1], [None, None, None]]}),
    ],
)  # fmt: skip
def test_rows_become_one_of_the_three_bodies(rows: Any, document: Any) -> None:
    """Every digit of a float stays; what is missing is null."""
    assert sent(rows) == document


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.array([1.0, 2.0]), r"shape \(rows, columns\)"),
        ("text", "got str"),
        (7, "got int"),
        ([[float("inf")]], "infinity"),
        ([[object()]], "of type object"),
    ],
)
def test_what_can_not_be_sent_is_refused_in_words(rows: Any, words: str) -> None:
    with pytest.raises(RequestRefused, match=words) as refused:
        sent(rows)
    assert refused.value.reason == "InvalidRequest"


@pytest.mark.parametrize(
    "user_id", ["a", "store-042", "A.b_c~d@e:f+g-h", "", "-a", "../x", "a/b", "a%2f", "é", "x" * 254, "a\n"]
)
def test_user_ids_are_those_that_can_be_declared(user_id: str) -> None:
    """No user id leads to another path."""
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": "x"},
        "spec": {"userId": user_id, "model": {"uri": "s3://bucket/model.joblib"}},
    }
    try:
        TenantModel.parse(document)
    except InvalidManifest:
        with pytest.raises(RequestRefused):
            questions.metadata(user_id)
    else:
        assert questions.metadata(user_id).path == f"/v2/models/{user_id}"


def test_a_forecast_sends_what_is_given() -> None:
    exog = pd.DataFrame({"price": [3.5, 2.9]})
    asked = questions.forecast("ann", 2, exog=exog, quantiles=None, history=None, **{"from": "2026-12-01"})
    assert json.loads(asked.body or b"") == {
        "horizon": 2,
        "exog": [{"price": 3.5}, {"price": 2.9}],
        "from": "2026-12-01",
    }


def test_predictions_are_a_list_and_an_array() -> None:
    answer = predictions(Reply(200, {"tenantry-server": "a", "tenantry-hop": "b"}, b"[1.5, null]"))
    assert (list(answer), len(answer), answer[0], answer.server, answer.passed_on) == (
        [1.5, None], 2, 1.5, "a", True,
    )  # fmt: skip
    assert np.isnan(answer.array()[1])
