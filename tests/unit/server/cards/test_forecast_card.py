"""Golden rows of a forecaster: a request, and the steps that it answered where it was trained."""

from pathlib import Path
from urllib.parse import unquote

import joblib
import pandas as pd
import pytest

from tenantry import TenantModel
from tenantry.errors import AnswersDiffer, ArtifactInvalid, CardUnusable, NotPublished
from tenantry_server import FileSystemModelRepository, publish
from tenantry_server.cards.card import Card, CardInvalid
from tenantry_server.formats import load_model
from tenantry_server.toys import DriftForecaster, SumModel

LAST = pd.Timestamp("2026-11-29")
EXAMPLE = {"horizon": 2, "quantiles": [0.9], "exog": [{"price": 1}, {"price": 2}]}


def published(folder: Path) -> TenantModel:
    model = DriftForecaster("D", LAST, exog_names=("price",))
    return publish(model, user_id="ann", to=folder, example=EXAMPLE)


def card_of(declared: TenantModel) -> bytes:
    card = declared.spec.model.card
    assert card is not None
    return Path(unquote(card.uri.removeprefix("file://"))).read_bytes()


def test_the_card_keeps_the_request_and_its_steps(tmp_path: Path) -> None:
    declared = published(tmp_path)
    card = Card.read(card_of(declared))
    assert card.answers == [["2026-11-30", 12.0, 12.9], ["2026-12-01", 14.0, 14.9]]
    assert Card.read(card.to_json()) == card
    model = FileSystemModelRepository().get_model(str(declared.spec.model.pinned()))
    assert isinstance(model, DriftForecaster)


def test_a_model_that_answers_other_steps_is_refused(tmp_path: Path) -> None:
    """Another number, or another day: both are another model."""
    exact = (declared := published(tmp_path)).spec.model.pinned()
    file = tmp_path / "other.joblib"
    for other, seen in (
        (DriftForecaster("D", LAST, slope=1.5, exog_names=("price",)), '["2026-11-30",12.5,13.4] here'),
        (
            DriftForecaster("D", LAST + pd.Timedelta(days=1), exog_names=("price",)),
            '["2026-12-01",12.0,12.9] here',
        ),
    ):
        joblib.dump(other, file)
        with pytest.raises(AnswersDiffer) as differ:
            load_model(file.read_bytes(), exact, card_of(declared))
        assert "to row 0 of its card's examples" in str(differ.value)
        assert seen in str(differ.value)
    joblib.dump(SumModel(), file)
    with pytest.raises(ArtifactInvalid, match=r"fails on the example rows of its card: .* predicts rows"):
        load_model(file.read_bytes(), exact, card_of(declared))


def test_what_is_no_request_is_not_published(tmp_path: Path) -> None:
    model = DriftForecaster("D", LAST)
    for example, words in (
        ({"horizon": 0}, "horizon must be a whole number"),
        ({"horizon": 2, "exog": [{"price": 1}]}, "the model takes no exogenous columns"),
    ):
        with pytest.raises(NotPublished, match=words):
            publish(model, user_id="ann", to=tmp_path, example=example)
    with pytest.raises(NotPublished, match="takes no rows; ask POST /forecast"):
        publish(model, user_id="ann", to=tmp_path, example=pd.DataFrame({"a": [1.0]}))
    assert list(tmp_path.iterdir()) == []


def test_a_card_with_a_broken_request_is_unusable(tmp_path: Path) -> None:
    declared = published(tmp_path)
    broken = card_of(declared).replace(b'"horizon":2', b'"horizon":0')
    with pytest.raises(CardInvalid, match="horizon must be"):
        Card.read(broken)
    with pytest.raises(CardUnusable):
        load_model(b"", declared.spec.model.pinned(), broken)
