"""Examples of training data, from a file or a frame, become a card; `tenantry publish` says the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
import yaml
from click.testing import CliRunner
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tenantry import Model
from tenantry.errors import NotPublished
from tenantry.model import Predictions
from tenantry_cli.commands.artifacts.publish import command
from tenantry_server import publish
from tenantry_server.cards.card import Card
from tenantry_server.publishing import read_example
from tenantry_server.rows.columns import Kind

FRAME = pd.DataFrame({"km": [1.5, 2.0, 4.0], "n": [1, 2, 3], "city": ["Oslo", "Rome", "Oslo"]})
LATE = ["no", "yes", "no"]
WRITERS: dict[str, Callable[[Path], Any]] = {
    ".csv": lambda path: FRAME.to_csv(path, index=False),
    ".json": lambda path: FRAME.to_json(path, orient="records"),
    ".jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
}


class Raises(Model):
    """A model of one's own that never works."""

    def predict(self, data: pd.DataFrame) -> Predictions:
        raise RuntimeError(f"no model for {len(data)} rows")


def fitted() -> Any:
    encoder = make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough")
    return make_pipeline(encoder, LogisticRegression()).fit(FRAME, LATE)


def card_beside(uri: str) -> Card:
    return Card.read(Path(f"{uri.removeprefix('file://')}.card.json").read_bytes())


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_command_writes_a_card_from_a_file_of_rows(suffix: str, tmp_path: Path) -> None:
    model, rows = tmp_path / "m.joblib", tmp_path / f"rows{suffix}"
    joblib.dump(fitted(), model)
    WRITERS[suffix](rows)
    both = ["--method", "predict", "--method", "predict_proba", "--extra-columns", "ignore"]
    args = [str(model), "--user", "ann", "--to", str(tmp_path / "m"), "--example", str(rows), *both]
    done = CliRunner().invoke(command, args, catch_exceptions=False)
    assert done.exit_code == 0
    spec = yaml.safe_load(done.stdout)["spec"]["model"]
    assert spec["method"] == ["predict", "predict_proba"]
    assert spec["extraColumns"] == "ignore"
    card = card_beside(spec["uri"])
    assert [column.kind for column in card.columns] == [Kind.NUMBER, Kind.INTEGER, Kind.TEXT]
    assert card.rows == FRAME.to_dict("records")
    assert [list(answer) for answer in card.answers] == [["predict", "predict_proba"]] * 3
    assert [answer["predict"] for answer in card.answers] == fitted().predict(FRAME).tolist()


def test_parquet_needs_its_library_or_keeps_the_types(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    try:
        FRAME.to_parquet(path)
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(NotPublished, match="Parquet needs a library that is not here"):
            read_example(path)
    else:
        pd.testing.assert_frame_equal(read_example(path), FRAME)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("rows.xlsx", "", "an example is a file"),
        ("rows.csv", "", "can't be read as .csv"),
        ("rows.json", "{", "can't be read as .json"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_words(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(NotPublished, match=words):
        read_example(tmp_path / name)


def test_publishing_again_keeps_methods_and_extra_columns(tmp_path: Path) -> None:
    def again(**more: Any) -> Any:
        return publish(
            fitted(), user_id="ann", to=tmp_path / "m", manifests=tmp_path, example=FRAME, **more
        ).spec.model

    both = ("predict", "predict_proba")
    again(method=both, spec={"model": {"extraColumns": "ignore"}})
    kept = again()
    assert (kept.method, kept.extra_columns) == (both, "ignore")
    assert again(method="predict").method == "predict"


def test_a_model_of_ones_own_that_raises_is_not_published(tmp_path: Path) -> None:
    """Without an example nobody knows what it takes: a server would say so to each request."""
    with pytest.raises(NotPublished, match="RuntimeError: no model for 3 rows"):
        publish(Raises(), user_id="ann", to=tmp_path / "m", example=FRAME)
    assert not (tmp_path / "m").exists()


def test_the_card_has_what_the_model_answers_and_what_it_was_given(tmp_path: Path) -> None:
    frame = FRAME[["km", "n"]]
    declared = publish(Ridge().fit(frame, [1.0, 2.0, 3.0]), user_id="ann", to=tmp_path / "m", example=frame)
    card = card_beside(declared.spec.model.uri)
    assert json.loads(card.to_json())["statistics"]["km"]["max"] == 4.0
    assert card.answers == pytest.approx(Ridge().fit(frame, [1.0, 2.0, 3.0]).predict(frame).tolist())
