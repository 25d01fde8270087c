"""From artifact bytes to a model: what it takes is read off the estimator, and bad ones are refused."""

import asyncio
import io
import math
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, FeatureMismatch, TenantryError, UnknownFormat
from tenantry.model import Predictions
from tenantry_server.artifacts.repositories import ModelRepository
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.formats import dump_model, load_model
from tenantry_server.formats.sklearn import reader as sklearn_format
from tenantry_server.predicting.answer import Answer
from tenantry_server.predicting.dataplane import DataPlane
from tenantry_server.rows import json_payload as payloads
from tenantry_server.scoring.calls import score
from tenantry_server.toys import SumModel

ROWS = np.array([[1.0, 20.0], [2.0, 10.0], [3.0, 40.0], [4.0, 30.0]])
FRAME = pd.DataFrame(ROWS, columns=["a", "b"])
TARGET = [1.0, 2.0, 3.0, 4.0]
CITIES = pd.DataFrame({"city": ["Oslo", "Rome", "Oslo", "Bern"], "km": [1.0, 2.0, 3.0, 4.0]})


def dumped(model: Any, compress: int = 0) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(model, buffer, compress=compress)
    return buffer.getvalue()


def loaded(model: Any, **model_id: Any) -> Model:
    return load_model(dumped(model), ModelId("file:///m.joblib", **model_id))


def answers(model: Model, body: bytes) -> Any:
    """As the server asks a model."""
    read = payloads.parse(body)
    if model.numeric:
        return model.predict_rows(read.matrix(model)).tolist()
    return model.predict(read.frame(model)).tolist()


def test_the_columns_stand_in_the_order_of_the_fit_and_not_of_the_request() -> None:
    fitted = LinearRegression().fit(FRAME, TARGET)
    model = loaded(fitted)
    assert (model.feature_names, model.feature_count, model.numeric) == (("a", "b"), 2, True)
    expected = fitted.predict(pd.DataFrame({"a": [7.0], "b": [1.0]})).tolist()
    assert answers(model, b'[{"b": 1, "a": 7}]') == expected


def test_fitted_without_names_it_takes_rows_by_position() -> None:
    fitted = LinearRegression().fit(ROWS, TARGET)
    model = loaded(fitted)
    assert (model.feature_names, model.feature_count) == (None, 2)
    expected = fitted.predict([[7.0, 1.0]]).tolist()
    assert answers(model, b'{"instances": [[7, 1]]}') == expected
    assert model.predict(pd.DataFrame({"x": [7.0], "y": [1.0]})).tolist() == expected


def test_the_chosen_method_is_called() -> None:
    fitted = LogisticRegression().fit(FRAME, ["no", "no", "yes", "yes"])
    body = b'[{"a": 1, "b": 20}, {"a": 4, "b": 30}]'
    assert answers(loaded(fitted), body) == ["no", "yes"]
    chances = answers(loaded(fitted, method="predict_proba"), body)
    assert np.asarray(chances) == pytest.approx(fitted.predict_proba(FRAME.iloc[[0, 3]]))
    margins = answers(loaded(fitted, method="decision_function"), body)
    assert margins == pytest.approx(fitted.decision_function(FRAME.iloc[[0, 3]]))


def test_a_method_that_the_estimator_lacks_is_the_artifacts_fault() -> None:
    with pytest.raises(ArtifactInvalid, match=r"Ridge has no method predict_proba; correct spec\.model\.m"):
        loaded(Ridge().fit(FRAME, TARGET), method="predict_proba")


@pytest.mark.parametrize(
    ("estimator", "takes_nan"),
    [
        (HistGradientBoostingRegressor(min_samples_leaf=1), True),
        (make_pipeline(StandardScaler(), HistGradientBoostingRegressor(min_samples_leaf=1)), True),
        (make_pipeline(SimpleImputer(), Ridge()), True),
        (make_pipeline(StandardScaler(), SimpleImputer(), Ridge()), True),
        (make_pipeline(make_pipeline(SimpleImputer()), Ridge()), True),
        (GridSearchCV(HistGradientBoostingRegressor(), {"max_iter": [5]}, cv=2), True),
        (GridSearchCV(make_pipeline(SimpleImputer(), Ridge()), {"ridge__alpha": [1.0]}, cv=2), True),
        (TransformedTargetRegressor(HistGradientBoostingRegressor()), True),
        (Ridge(), False),
        (make_pipeline(StandardScaler(), Ridge()), False),
        (make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Ridge())), False),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2), False),
    ],
    ids=lambda value: str(value).replace("\n", "")[:60],
)
def test_a_missing_value_is_taken_exactly_where_the_estimator_takes_it(
    estimator: Any, takes_nan: bool
) -> None:
    fitted = estimator.fit(FRAME, TARGET)
    model = loaded(fitted)
    assert model.accepts_missing is takes_nan
    body = b'[{"a": 1, "b": null}]'
    if takes_nan:
        expected = fitted.predict(pd.DataFrame({"a": [1.0], "b": [math.nan]}))
        assert answers(model, body) == pytest.approx(expected)
    else:
        with pytest.raises(FeatureMismatch, match="row 0, column 'b' is missing"):
            answers(model, body)


def by_city() -> Any:
    columns = ColumnTransformer([("city", OneHotEncoder(), ["city"])], remainder="passthrough")
    return make_pipeline(columns, Ridge())


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda inner: inner,
        lambda inner: GridSearchCV(inner, {"ridge__alpha": [1.0]}, cv=2, error_score="raise"),
        TransformedTargetRegressor,
    ],
    ids=["itself", "in a search", "with a transformed target"],
)
def test_string_columns_reach_a_pipeline_that_takes_them(wrapped: Callable[[Any], Any]) -> None:
    twice = pd.concat([CITIES, CITIES], ignore_index=True)
    fitted = wrapped(by_city()).fit(twice, TARGET * 2)
    model = loaded(fitted)
    assert model.numeric is False
    assert answers(model, b'[{"km": 3, "city": "Oslo"}]') == pytest.approx(fitted.predict(twice[2:3]))


def test_a_number_that_came_as_text_is_not_another_category() -> None:
    """OneHotEncoder ignores what it does not know: `"3"` was 28.28 where 3 was 28.08, both 200."""
    rows = pd.DataFrame({"n": [1, 2, 3, 3]})
    encoder = ColumnTransformer([("n", OneHotEncoder(handle_unknown="ignore"), ["n"])])
    model = loaded(make_pipeline(encoder, Ridge()).fit(rows, [1.0, 2.0, 3.0, 3.0]))
    whole, same = (score(model, payloads.parse(body)) for body in (b'[{"n": 3}]', b'[{"n": 3.0}]'))
    assert whole.tolist() == same.tolist()
    with pytest.raises(FeatureMismatch, match=r"row 0, column 'n' must be a .*number, got the string '3'"):
        score(model, payloads.parse(b'[{"n": "3"}]'))


def test_string_class_labels_come_back_as_strings() -> None:
    model = loaded(LogisticRegression().fit(ROWS, ["late", "late", "early", "early"]))
    assert set(answers(model, b'{"instances": [[1, 20], [4, 30]]}')) <= {"late", "early"}


def test_joblib_pickle_and_compressed_joblib_hold_the_same_model() -> None:
    fitted = Ridge().fit(FRAME, TARGET)
    forms = {
        "file:///m.joblib": dumped(fitted),
        "file:///n.joblib": dumped(fitted, compress=3),
        "file:///m.pkl": pickle.dumps(fitted),
        "file:///m.PICKLE": pickle.dumps(fitted, protocol=2),
    }
    expected = fitted.predict(FRAME[:1]).tolist()
    for uri, data in forms.items():
        assert answers(load_model(data, ModelId(uri)), b'[{"a": 1, "b": 20}]') == expected


def test_a_model_of_ones_own_is_loaded_as_it_is() -> None:
    model = load_model(pickle.dumps(SumModel(plus=5)), ModelId("file:///m.pkl"))
    assert isinstance(model, SumModel)
    assert answers(model, b'[{"a": 1, "b": 2}]') == [8.0]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"garbage that is not a pickle", "not a joblib or pickle file (first bytes: b'garbage that is ')"),
        (dumped(Ridge())[:-20], "it is not a joblib or pickle file, or it is damaged: "),
        (b"cno_such_module\nThing\n.", "No module named 'no_such_module'"),
        (dumped({"not": "a model"}), "it holds a dict, which has no predict method"),
        (dumped(StandardScaler().fit(ROWS)), "it holds a StandardScaler, which has no predict method"),
    ],
    ids=["empty", "garbage", "cut off", "a stranger's class", "a dict", "a transformer"],
)
def test_what_is_no_model_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(ArtifactInvalid) as raised:
        load_model(data, ModelId("file:///m.joblib"))
    assert str(raised.value).startswith("file:///m.joblib is not a usable model: ")
    assert words in str(raised.value)


@pytest.mark.parametrize(
    "estimator",
    [Ridge(), make_pipeline(StandardScaler(), Ridge()), by_city()],
    ids=["alone", "pipeline", "string columns"],
)
def test_an_estimator_that_was_never_fitted_is_refused(estimator: Any) -> None:
    """Else its TenantModel would be Ready, and each request be told that its rows are wrong."""
    with pytest.raises(ArtifactInvalid, match="not fitted"):
        loaded(estimator)


def test_a_text_pipeline_is_fitted_though_it_counts_no_columns() -> None:
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good", "bad"], [1, 0])
    assert loaded(fitted).feature_count == 1


def test_an_estimator_that_only_fails_in_use_is_refused_when_loaded() -> None:
    broken = Ridge().fit(ROWS, TARGET)
    del broken.coef_
    with pytest.raises(ArtifactInvalid, match="predict fails with AttributeError"):
        loaded(broken)


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        (ModelId("file:///m.odd"), r"no loader for suffix '\.odd'; this server knows sklearn \(\.joblib"),
        (ModelId("file:///m"), r"no loader for suffix '\(none\)'"),
        (ModelId("file:///m.joblib", format="odd"), "no loader for format 'odd'"),
    ],
)
def test_a_format_nobody_reads_is_named(model_id: ModelId, words: str) -> None:
    with pytest.raises(UnknownFormat, match=words):
        load_model(b"", model_id)


def test_an_explicit_format_goes_before_the_suffix() -> None:
    named = ModelId("file:///m.bin", format="sklearn")
    assert load_model(dumped(Ridge().fit(ROWS, TARGET)), named).feature_count == 2


def fail(error: BaseException) -> Model:
    raise error


class Fails:
    """A pickle of it raises `error` when it is read."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return fail, (self.error,)


class Odd(BaseException):
    """What no sane model raises."""


ODD = [
    SystemExit(3),
    Odd("odd"),
    RecursionError("deep"),
    MemoryError("much"),
    GeneratorExit(),
    StopIteration(),
]
ODD_IDS = [type(error).__name__ for error in ODD]


@pytest.mark.parametrize("error", [*ODD, CancelledError()], ids=[*ODD_IDS, "CancelledError"])
def test_whatever_a_pickle_raises_it_is_an_invalid_artifact(error: BaseException) -> None:
    with pytest.raises(ArtifactInvalid, match=type(error).__name__):
        load_model(pickle.dumps(Fails(error)), ModelId("file:///m.pkl"))


def test_ctrl_c_during_a_load_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt):
        load_model(pickle.dumps(Fails(KeyboardInterrupt())), ModelId("file:///m.pkl"))


class Everybody(ModelInfoRepository):
    """A user's model is named after the user."""

    def get_model_id_by_user_id(self, user_id: str) -> str:
        return user_id


class Source(ModelRepository):
    """Makes models with a function."""

    def __init__(self, make: Callable[[], Model]) -> None:
        self.make = make

    def get_model(self, model_id: str) -> Model:  # noqa: ARG002 - the interface
        return self.make()


class RaisesOnce(SumModel):
    """Raises `error` at its first call."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.errors = [error]

    def predict(self, data: pd.DataFrame) -> Predictions:
        if self.errors:
            raise self.errors.pop()
        return super().predict(data)


async def ask(plane: DataPlane) -> Answer:
    read = payloads.parse(b'[{"a": 1}]')
    return await plane.predict("ann", read, timeout_s=10)


ODDEST = [*ODD, KeyboardInterrupt(), CancelledError()]


@pytest.mark.parametrize("error", ODDEST, ids=[type(each).__name__ for each in ODDEST])
async def test_no_load_can_end_the_event_loop_or_hang_its_flight(error: BaseException) -> None:
    source = Source(lambda: fail(error))
    plane = DataPlane(Everybody(), source)
    with pytest.raises(Exception):  # noqa: B017, PT011 - any but a BaseException, and soon
        await ask(plane)
    source.make = SumModel
    assert (await ask(plane)).predictions.tolist() == [1.0]
    plane.close()


@pytest.mark.parametrize("error", ODDEST, ids=[type(each).__name__ for each in ODDEST])
async def test_no_prediction_can_end_the_event_loop(error: BaseException) -> None:
    model = RaisesOnce(error)
    plane = DataPlane(Everybody(), Source(lambda: model))
    with pytest.raises(TenantryError, match=f"RaisesOnce raised {type(error).__name__}"):
        await ask(plane)
    assert (await ask(plane)).predictions.tolist() == [1.0]
    plane.close()


async def test_the_callers_of_a_load_that_fails_oddly_all_hear_of_it() -> None:
    go = threading.Event()

    def make() -> Model:
        go.wait(10)
        raise SystemExit(3)

    plane = DataPlane(Everybody(), Source(make))
    asked = [asyncio.create_task(ask(plane)) for _ in range(5)]
    await asyncio.sleep(0)
    go.set()
    heard = await asyncio.gather(*asked, return_exceptions=True)
    assert [str(each) for each in heard] == ["SystemExit was raised: 3"] * 5
    plane.close()


def test_several_outputs_are_answered_row_by_row() -> None:
    """For their probabilities a forest gives an array for each output."""
    labels = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    forest = RandomForestClassifier(3, random_state=0).fit(np.arange(8.0).reshape(4, 2), labels)
    buffer = io.BytesIO()
    joblib.dump(forest, buffer)
    model = load_model(buffer.getvalue(), ModelId("file:///m.joblib", method="predict_proba"))
    rows = np.arange(8.0).reshape(4, 2)
    first, second = forest.predict_proba(rows)
    assert model.predict_rows(rows).tolist() == [
        [one, other] for one, other in zip(first.tolist(), second.tolist(), strict=True)
    ]


class Summed(BaseEstimator, RegressorMixin):  # type: ignore[misc]
    """Gives one number for all rows."""

    def predict(self, rows: Any) -> Any:
        return np.asarray(rows).sum()


def test_a_model_that_does_not_answer_row_by_row_is_refused_when_it_is_loaded() -> None:
    """No request could be answered."""
    buffer = io.BytesIO()
    joblib.dump(Summed(), buffer)
    with pytest.raises(ArtifactInvalid, match=r"predict gives shape \(\) for one row"):
        load_model(buffer.getvalue(), ModelId("file:///m.joblib"))


def test_small_models_are_plain_pickles_and_all_are_read_as_joblib_reads_them() -> None:
    """Also where joblib wrote them, compressed or not, and where an array lies in a file."""
    rows = np.arange(200_000.0).reshape(-1, 2)
    small, large = Ridge().fit(rows[:9], rows[:9, 0]), Ridge().fit(rows, rows[:, 0])
    large.kept_ = rows
    assert pickle.loads(dump_model(small)[0]).coef_.tolist() == small.coef_.tolist()
    data, _ = dump_model(large)
    assert b"numpy_pickle" in data
    assert sklearn_format.read(data).kept_.tolist() == joblib.load(io.BytesIO(data)).kept_.tolist()
    for compress in (0, 3):
        buffer = io.BytesIO()
        joblib.dump(small, buffer, compress=compress)
        assert sklearn_format.read(buffer.getvalue()).coef_.tolist() == small.coef_.tolist()
