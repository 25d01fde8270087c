"""Golden rows: what counts as the same answer, and what the message says of another one."""

from typing import Any

import pytest

from tenantry.errors import AnswersDiffer
from tenantry_server.cards.card import Card, Form
from tenantry_server.scoring import golden


def card(answers: list[Any], **versions: str) -> Card:
    return Card(
        form=Form.ARRAY,
        columns=(),
        rows=[[]] * len(answers),
        answers=answers,
        method="predict",
        relative=1e-6,
        absolute=1e-9,
        versions=versions,
        statistics={},
    )


SAME = [
    (1.0, 1.0000005),
    (0.0, 1e-10),
    (2, 2.0),
    ("a", "a"),
    (None, None),
    ([1.0, "a", [None]], [1.0000001, "a", [None]]),
    ({"predict": "a", "predict_proba": [0.5]}, {"predict_proba": [0.5000001], "predict": "a"}),
]
OTHER = [
    (1.0, 1.00001),
    (0.0, 1e-8),
    (1.0, "1.0"),
    (True, 1),
    (1.0, None),
    ([1.0], [1.0, 2.0]),
    ([1.0], 1.0),
    ({"predict": "a"}, {"predict": "b"}),
    ({"predict": 1.0}, {"predict": 1.00001}),
    ({"predict": 1.0}, {"predict": 1.0, "predict_proba": [1.0]}),
]


@pytest.mark.parametrize(("expected", "seen"), SAME)
def test_rounding_is_no_difference(expected: Any, seen: Any) -> None:
    golden.compare(card([expected]), [seen], "file:///m.joblib")


@pytest.mark.parametrize(("expected", "seen"), OTHER)
def test_anything_else_is_one(expected: Any, seen: Any) -> None:
    with pytest.raises(AnswersDiffer):
        golden.compare(card([expected]), [seen], "file:///m.joblib")


def test_the_message_names_row_answers_and_the_versions_that_differ() -> None:
    known = card([1.0, {"predict": "a"}], python="2.7.18", numpy=golden.version_here("numpy"), gone="1.0")
    with pytest.raises(AnswersDiffer) as raised:
        golden.compare(known, [1.0, {"predict": "b"}], "file:///m.joblib")
    words = str(raised.value)
    assert "row 1" in words
    assert '{"predict":"a"}' in words
    assert '{"predict":"b"}' in words
    assert f"python 2.7.18 there, {golden.version_here('python')} here" in words
    assert "gone 1.0 there, not installed here" in words
    assert "numpy" not in words
