"""Models with encoders of texts and codes: what is compiled answers, and refuses, as the original does."""

import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
    TargetEncoder,
)

from tenantry import TenantryError
from tenantry.errors import FeatureMismatch
from tenantry.model import Predictions, Rows
from tenantry_server.compiling.compiler import fast
from tenantry_server.formats.sklearn.reader import SklearnModel
from tenantry_server.kernels import arrays, packing, unpacking
from tenantry_server.kernels.arrays import Malformed
from tenantry_server.kernels.encoded import Encoded
from tenantry_server.kernels.forest import Forest
from tenantry_server.rows.json_payload import parse
from tenantry_server.rows.payload import Payload
from tenantry_server.rows.tensors import Tensors, from_json
from tenantry_server.scoring.calls import score

RNG = np.random.default_rng(5)
COUNT = 240
FRAME = pd.DataFrame(
    {
        "city": RNG.choice(
            ["Aachen", "Bonn", "Coburg", "Döbeln", "Essen"], COUNT, p=[0.4, 0.3, 0.2, 0.07, 0.03]
        ),
        "kind": RNG.choice(["x", "y"], COUNT),
        "store": RNG.integers(3, 9, COUNT),
        "km": RNG.normal(size=COUNT),
        "hour": RNG.integers(0, 24, COUNT).astype(float),
    }
)
TARGET = RNG.normal(size=COUNT) + (FRAME.city == "Bonn") * 3 + FRAME.km
LABELS = np.where(TARGET > 1, "high", "low")
TEXTS = ["city", "kind"]


def holed(frame: pd.DataFrame) -> pd.DataFrame:
    """Some texts and numbers are missing."""
    return frame.mask(np.random.default_rng(6).random(frame.shape) < 0.1)


def after(*parts: Any, final: Any, remainder: Any = "passthrough") -> Pipeline:
    return make_pipeline(make_column_transformer(*parts, remainder=remainder), final)


ONE_HOT = OneHotEncoder(handle_unknown="ignore")
FILLED = make_pipeline(
    SimpleImputer(strategy="most_frequent"), OneHotEncoder(drop="first", handle_unknown="ignore")
)
UNSEEN = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
NUMBERS = make_pipeline(SimpleImputer(), StandardScaler())
MODELS: dict[str, tuple[Pipeline, pd.DataFrame, Any]] = {
    "one-hot, Ridge": (after((ONE_HOT, TEXTS), final=Ridge()), FRAME, TARGET),
    "unknown refused": (after((OneHotEncoder(), TEXTS), final=Ridge()), FRAME, TARGET),
    "codes": (after((ONE_HOT, ["store", "kind"]), final=Ridge(), remainder="drop"), FRAME, TARGET),
    "seldom ones together": (
        after(
            (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), TEXTS), final=Ridge()
        ),
        FRAME,
        TARGET,
    ),
    "missing is a value": (
        after((ONE_HOT, TEXTS), (NUMBERS, ["km", "hour", "store"]), final=Ridge()),
        holed(FRAME),
        TARGET,
    ),
    "filled, first dropped": (
        after((FILLED, TEXTS), (NUMBERS, ["km"]), final=Lasso(0.01), remainder="drop"),
        holed(FRAME),
        TARGET,
    ),
    "scaled afterwards": (
        make_pipeline(
            make_column_transformer((TargetEncoder(), TEXTS), remainder="passthrough"),
            StandardScaler(),
            Ridge(),
        ),
        FRAME,
        TARGET,
    ),
    "ordinal, boosting": (
        after((UNSEEN, TEXTS), final=HistGradientBoostingRegressor(max_iter=8)),
        holed(FRAME),
        TARGET,
    ),
    "ordinal, forest": (after((OrdinalEncoder(), TEXTS), final=RandomForestRegressor(5)), FRAME, TARGET),
    "sparse, forest": (after((ONE_HOT, TEXTS), final=RandomForestClassifier(5)), FRAME, LABELS),
    "labels": (
        after((ONE_HOT, TEXTS), (StandardScaler(), ["km"]), final=LogisticRegression()),
        FRAME,
        LABELS,
    ),
    "bins": (after((KBinsDiscretizer(4), ["km", "hour"]), (ONE_HOT, TEXTS), final=Ridge()), FRAME, TARGET),
    "ordinal bins": (
        after((KBinsDiscretizer(3, encode="ordinal"), ["km"]), final=Ridge(), remainder="drop"),
        FRAME,
        TARGET,
    ),
    "texts alone": (make_pipeline(OneHotEncoder(), Ridge()), FRAME[TEXTS], TARGET),
}


@pytest.fixture(scope="module", autouse=True)
def _kept_arrays() -> Iterator[None]:
    Forest.keeps_arrays = True
    yield
    Forest.keeps_arrays = False


def scored(model: SklearnModel, payload: Payload) -> Predictions:
    """What the original answers; its warnings about unknown values are not errors, as in a server."""
    with warnings.catch_warnings(action="ignore"):
        return score(model, payload)


@pytest.fixture(scope="module", params=MODELS)
def pair(request: pytest.FixtureRequest) -> tuple[SklearnModel, Encoded]:
    """The original, and what was compiled of it, as a front reads it from a worker."""
    estimator, frame, target = MODELS[request.param]
    original = SklearnModel(estimator.fit(frame, target))
    return original, compiled(original)


def compiled(original: SklearnModel) -> Encoded:
    kernel = fast(original)
    assert isinstance(kernel, Encoded), "it was left alone"
    sent = unpacking.unpack(b"".join(packing.pack(kernel)))
    assert isinstance(sent, Encoded)
    return sent


def rows_of(frame: pd.DataFrame) -> bytes:
    return orjson.dumps(frame.astype(object).where(frame.notna(), None).to_dict("records"))


def assert_equal(seen: Predictions, expected: Predictions) -> None:
    assert (seen.shape, seen.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(seen, expected, rtol=1e-9, atol=1e-12)
    else:
        np.testing.assert_array_equal(seen, expected)


def test_it_answers_as_its_original_alone_and_in_batches(pair: tuple[SklearnModel, Encoded]) -> None:
    original, kernel = pair
    frame = FRAME[list(original.feature_names or ())]
    whole = rows_of(frame)
    expected = scored(original, parse(whole))
    assert_equal(score(kernel, parse(whole)), expected)
    assert_equal(kernel.predict(frame), expected)
    for number in range(5):
        assert_equal(score(kernel, parse(rows_of(frame.iloc[[number]]))), expected[number : number + 1])


def test_it_answers_tensors(pair: tuple[SklearnModel, Encoded]) -> None:
    original, kernel = pair
    frame = FRAME[list(original.feature_names or ())].head(7)
    inputs = [
        from_json(str(name), "BYTES" if name in TEXTS else "FP64", [len(frame)], values.tolist())
        for name, values in frame.items()
    ]
    expected = scored(original, Tensors(inputs))
    assert_equal(score(kernel, Tensors(inputs[::-1])), expected)


VALUES = st.one_of(
    st.sampled_from(["Aachen", "Bonn", "Essen", "x", "y", "", "3", "Zürich"]),
    st.none(),
    st.booleans(),
    st.integers(-3, 12),
    st.sampled_from([2**40, -(2**62), 3.0, 1e-300, 1e15]),
    st.floats(-30, 30, allow_nan=False),
)
LIKELY = {
    "city": st.sampled_from(["Aachen", "Bonn", "Coburg", "Döbeln", "Essen", "Fürth", None]),
    "kind": st.sampled_from(["x", "y", "z", None]),
    "store": st.integers(2, 10),
    "km": st.floats(-5, 5, allow_nan=False),
    "hour": st.one_of(st.floats(-1, 25, allow_nan=False), st.none()),
}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_row_is_answered_or_refused_alike(
    pair: tuple[SklearnModel, Encoded], data: st.DataObject
) -> None:
    original, kernel = pair
    names = original.feature_names or ()
    column = st.sampled_from(names)
    rows = []
    for _ in range(data.draw(st.integers(1, 3))):
        row = {name: data.draw(LIKELY[name]) for name in names}
        if data.draw(st.booleans()):
            row[data.draw(column)] = data.draw(VALUES)
        rows.append(row)
    body = orjson.dumps(rows)
    try:
        expected = scored(original, parse(body))
    except TenantryError as error:
        event("refused")
        with pytest.raises(type(error)):
            score(kernel, parse(body))
        return
    event("answered")
    assert_equal(score(kernel, parse(body)), expected)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"city": "Fürth"}, "row 0, column 'city' is the string 'Fürth', which is not one of the 5 values"),
        ({"city": None}, "row 0, column 'city' is missing"),
        ({"city": 3}, "row 0, column 'city' must be a text, got the number 3"),
        ({"city": ["Bonn"]}, "row 0, column 'city' must be a text, got a list"),
        ({"km": "far"}, "row 0, column 'km' must be a number, got the string 'far'"),
        ({"km": None}, "row 0, column 'km' is missing (null)"),
        ({"km": {}}, "row 0, column 'km' must be a number, got an object"),
    ],
    ids=str,
)
def test_what_is_refused_is_named(row: dict[str, Any], words: str) -> None:
    kernel = compiled(SklearnModel(MODELS["unknown refused"][0].fit(FRAME, TARGET)))
    good = {"city": "Bonn", "kind": "x", "store": 3, "km": 1.0, "hour": 4.0}
    with pytest.raises(FeatureMismatch) as refused:
        score(kernel, parse(orjson.dumps([good | row])))
    assert words in str(refused.value)


class Louder(OneHotEncoder):  # type: ignore[misc]
    """May do anything."""


@pytest.mark.parametrize(
    "estimator",
    [
        after((Louder(), TEXTS), final=Ridge()),
        after(
            (make_pipeline(FunctionTransformer(lambda frame: frame), OneHotEncoder()), TEXTS), final=Ridge()
        ),
        after((make_pipeline(OneHotEncoder(sparse_output=False), OrdinalEncoder()), TEXTS), final=Ridge()),
        make_pipeline(
            ColumnTransformer([("a", OneHotEncoder(), TEXTS)], transformer_weights={"a": 2.0}), Ridge()
        ),
    ],
    ids=["subclass", "function", "two encoders", "weights"],
)
def test_what_is_not_known_exactly_is_left_alone(estimator: Pipeline) -> None:
    original = SklearnModel(estimator.fit(FRAME, TARGET))
    assert fast(original) is original


def test_a_table_that_differs_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof runs each column through its values."""
    original = SklearnModel(MODELS["one-hot, Ridge"][0].fit(FRAME, TARGET))
    assert isinstance(fast(original), Encoded)
    read = Encoded.matrix

    def off(self: Encoded, rows: Any) -> Any:
        matrix = read(self, rows)
        matrix[[row[0] == "Essen" for row in rows]] *= 1.01
        return matrix

    monkeypatch.setattr(Encoded, "matrix", off)
    assert fast(original) is original


def test_its_memory_counts_its_tables() -> None:
    small, large = (
        compiled(
            SklearnModel(
                make_pipeline(OneHotEncoder(), Ridge()).fit(
                    pd.DataFrame({"city": [f"city {number}" for number in range(count)]}), np.arange(count)
                )
            )
        )
        for count in (2, 200)
    )
    assert large.own_bytes() - small.own_bytes() > 198 * 100


def test_many_rows_of_many_values_are_read_in_pieces() -> None:
    """Ten bytes of a body would be a row of 400 numbers."""
    frame = pd.DataFrame({"city": [f"city {number}" for number in range(400)]})
    original = SklearnModel(make_pipeline(OneHotEncoder(), Ridge()).fit(frame, np.arange(400)))
    kernel = compiled(original)
    many = pd.concat([frame] * 10, ignore_index=True)
    sizes = []
    predict_rows = kernel.inner.predict_rows

    def noted(rows: Rows) -> Predictions:
        sizes.append(rows.size)
        return predict_rows(rows)

    kernel.inner = SimpleNamespace(predict_rows=noted, row_bytes=8)  # type: ignore[assignment]
    assert_equal(score(kernel, parse(rows_of(many))), scored(original, parse(rows_of(many))))
    assert len(sizes) > 1
    assert max(sizes) <= 1 << 20
    many.loc[3_999] = "nowhere"
    with pytest.raises(
        FeatureMismatch, match=r"row 1378, column 'city' is .* \(counted from row 2621 on\)"
    ):
        score(kernel, parse(rows_of(many)))


def test_a_forged_encoder_is_refused() -> None:
    kernel = fast(SklearnModel(MODELS["bins"][0].fit(FRAME, TARGET)))
    assert isinstance(kernel, Encoded)
    document, given_arrays = arrays.decode(b"".join(packing.pack(kernel)))
    first = document["codecs"][0]
    unordered = [
        *given_arrays,
        np.array([2.0, 1.0, 3.0]),
        np.array([1 << 40] * len(given_arrays[first["places"]])),
    ]
    for change in (
        {"kinds": ["text"]},
        {"kinds": ["os.system"] * 5},
        {"numbers": [7]},
        {"numbers": [True]},
        {"numbers": [0] * 1000},
        {"base": document["codecs"][0]["edges"]},
        {"inner": document},
        {"codecs": [first | {"column": -1}]},
        {"codecs": [first | {"bins": -2}]},
        {"codecs": [first | {"bins": 9}]},
        {"codecs": [first | {"known": ["a"]}]},
        {"codecs": [first | {"edges": len(given_arrays)}]},
        {"codecs": [first | {"places": len(given_arrays) + 1}]},
        {"codecs": [first | {"missing": True, "unknown": True}]},
    ):
        with pytest.raises(Malformed):
            unpacking.unpack(b"".join(arrays.encode(document | change, unordered)))
