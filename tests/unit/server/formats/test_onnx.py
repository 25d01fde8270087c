"""ONNX files: answers as the model that was exported, and inputs that can't be a table refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, FeatureMismatch
from tenantry_server.formats import load_model
from tenantry_server.rows import json_payload
from tenantry_server.scoring.calls import score
from tests.support.load import growth

ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32).astype(np.float64)
SUM = ROWS.sum(axis=1)
LABELS = np.where(SUM > 0, "late", "early")


def same(seen: Any, expected: Any) -> None:
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)  # what float32 keeps


def exported(model: Any, **options: Any) -> bytes:
    proto = to_onnx(model, ROWS[:1].astype(np.float32), **options)
    return bytes(proto.SerializeToString())


def loaded(data: bytes, **model_id: Any) -> Model:
    return load_model(data, ModelId("file:///m.onnx", **model_id))


def graph(inputs: Sequence[Any], nodes: Sequence[Any], output: Any, **more: Any) -> bytes:
    made = helper.make_graph(nodes, "g", inputs, [output], **more)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())


def doubled(shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> bytes:
    """A graph that adds its one input to itself."""
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    return graph(ends[:1], [helper.make_node("Add", ["x", "x"], ["y"])], ends[1])


@pytest.mark.parametrize(
    "estimator",
    [
        make_pipeline(StandardScaler(), Ridge()),
        RandomForestRegressor(5, random_state=0),
        MLPRegressor(hidden_layer_sizes=(8,), solver="lbfgs", max_iter=2000, random_state=0),
    ],
    ids=["pipeline", "forest", "network"],
)
def test_a_regressor_predicts_what_it_predicted_before(estimator: Any) -> None:
    estimator.fit(ROWS, SUM)
    model = loaded(exported(estimator))
    assert (model.feature_names, model.feature_count, model.numeric) == (None, 3, True)
    same(model.predict_rows(ROWS), estimator.predict(ROWS))
    same(model.predict(pd.DataFrame(ROWS)), estimator.predict(ROWS))
    assert model.predict_rows(ROWS).shape == (60,)


def test_several_outputs_a_row_stay_columns() -> None:
    fitted = LinearRegression().fit(ROWS, np.column_stack([SUM, -SUM]))
    same(loaded(exported(fitted)).predict_rows(ROWS), fitted.predict(ROWS))


@pytest.mark.parametrize("zipmap", [True, False], ids=["mappings", "a matrix"])
def test_a_classifier_gives_labels_and_probabilities(zipmap: bool) -> None:
    classifier = LogisticRegression().fit(ROWS, LABELS)
    data = exported(classifier, options={id(classifier): {"zipmap": zipmap}})
    assert loaded(data).predict_rows(ROWS).tolist() == classifier.predict(ROWS).tolist()
    chances = loaded(data, method="predict_proba").predict_rows(ROWS)
    same(chances, classifier.predict_proba(ROWS))


def test_columns_are_asked_for_by_the_inputs_names() -> None:
    """As skl2onnx exports a pipeline on a DataFrame: strings beside numbers."""
    frame = pd.DataFrame({"km": [1.0, 2.0, 3.0, 4.0], "city": ["Oslo", "Rome", "Oslo", "Bern"]})
    steps = ColumnTransformer([("city", OneHotEncoder(), ["city"]), ("km", StandardScaler(), ["km"])])
    fitted = make_pipeline(steps, Ridge()).fit(frame, [1.0, 2.0, 3.0, 4.0])
    types = [("km", FloatTensorType([None, 1])), ("city", StringTensorType([None, 1]))]
    model = loaded(bytes(to_onnx(fitted, initial_types=types).SerializeToString()))
    assert (model.feature_names, model.numeric) == (("km", "city"), False)
    same(model.predict(frame[["city", "km"]]), fitted.predict(frame))
    for body, words in [
        (b'[{"km": 1, "city": 2}]', "row 0, column 'city' must be a string"),
        (b'[{"km": 1, "city": null}]', "row 0, column 'city' must be a string"),
        (
            b'[{"km": 1, "city": "Oslo"}, {"km": "2", "city": "Oslo"}]',
            "row 1, column 'km' must be a number",
        ),
    ]:
        with pytest.raises(FeatureMismatch, match=words):
            score(model, json_payload.parse(body))
    asked = score(model, json_payload.parse(b'[{"city": "Rome", "km": 2}]'))
    same(asked, fitted.predict(frame[1:2]))


def test_a_matrix_of_strings_is_taken_by_position() -> None:
    cities = np.array([["Oslo", "a"], ["Rome", "b"], ["Oslo", "b"]], dtype=object)
    fitted = make_pipeline(OneHotEncoder(), Ridge()).fit(cities, [1.0, 2.0, 3.0])
    types = [("cities", StringTensorType([None, 2]))]
    model = loaded(bytes(to_onnx(fitted, initial_types=types).SerializeToString()))
    assert (model.feature_names, model.feature_count, model.numeric) == (None, 2, False)
    same(model.predict(pd.DataFrame(cities)), fitted.predict(cities))


def test_numbers_that_the_input_cannot_hold_are_refused() -> None:
    model = loaded(doubled([None, 2]))
    assert model.predict_rows(np.array([[1.5, np.nan]])).tolist()[0][0] == 3.0
    with pytest.raises(FeatureMismatch, match=r"row 0, column 1: 1e\+300 is not of type float32"):
        score(model, json_payload.parse(b'{"instances": [[1, 1e300]]}'))
    whole = loaded(doubled([None, 2], TensorProto.INT64))
    assert whole.predict_rows(np.array([[1.0, -3.0]])).tolist() == [[2, -6]]
    assert whole.accepts_missing is False
    with pytest.raises(FeatureMismatch, match=r"row 1, column 0: 2\.5 is not of type int64"):
        score(whole, json_payload.parse(b'{"instances": [[1, 2], [2.5, 1]]}'))


def test_integers_beside_floats_go_to_the_inputs_of_their_type() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3, 4], "x": [0.5, 0.25, 4.0, 1.0]})
    steps = ColumnTransformer([(name, "passthrough", [name]) for name in frame])
    fitted = make_pipeline(steps, Ridge()).fit(frame, [1.0, 2.0, 3.0, 5.0])
    types = [("n", Int64TensorType([None, 1])), ("x", FloatTensorType([None, 1]))]
    model = loaded(bytes(to_onnx(fitted, initial_types=types).SerializeToString()))
    assert (model.feature_names, model.numeric, model.accepts_missing) == (("n", "x"), True, False)
    same(model.predict_rows(frame.to_numpy(dtype=np.float64)), fitted.predict(frame))
    with pytest.raises(FeatureMismatch, match=r"row 0, column 'n': 1\.5 is not of type int64"):
        score(model, json_payload.parse(b'[{"n": 1.5, "x": 1}]'))


def test_a_graph_for_one_row_at_a_time_gets_them_one_by_one() -> None:
    """As PyTorch exports where nobody names a dynamic axis."""
    rows = np.arange(8.0).reshape(4, 2)
    assert loaded(doubled([1, 2])).predict_rows(rows).tolist() == (2 * rows).tolist()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (doubled([8, 2]), "its input x takes exactly 8 rows; export it with a dynamic first axis"),
        (doubled([None, 3, 32, 32]), r"its input x is tensor\(float\) \[None, 3, 32, 32\]; a matrix or"),
        (doubled([]), r"its input x is tensor\(float\) \[\]"),
    ],
    ids=["eight rows", "pictures", "a number"],
)
def test_a_graph_that_takes_no_table_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ArtifactInvalid, match=words):
        loaded(data)


def test_several_wide_inputs_are_refused() -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("p", "q", "y")]
    data = graph(ends[:2], [helper.make_node("Add", ["p", "q"], ["y"])], ends[2])
    with pytest.raises(
        ArtifactInvalid, match="of its 2 inputs, p takes 2 columns; export it with one matrix"
    ):
        loaded(data)


@pytest.mark.parametrize(
    ("estimator", "method"), [(Ridge(), "predict_proba"), (LogisticRegression(), "decision_function")]
)
def test_a_method_that_it_lacks_is_refused(estimator: Any, method: str) -> None:
    data = exported(estimator.fit(ROWS, SUM > 0))
    with pytest.raises(ArtifactInvalid, match=f"has no method {method}"):
        loaded(data, method=method)


def test_a_file_that_is_cut_off_is_refused() -> None:
    whole = exported(RandomForestRegressor(3, random_state=0).fit(ROWS, SUM))
    for cut in [*range(0, len(whole), 301), len(whole) - 1]:
        with pytest.raises(ArtifactInvalid):
            loaded(whole[:cut])


def test_a_graph_reads_no_file_of_this_machine(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights may be named by path; in a tenant's artifact that would be a file of ours."""
    (tmp_path / "secret").write_bytes(np.array([3.0, 4.0], np.float32).tobytes())
    monkeypatch.chdir(tmp_path)
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    weights.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "secret"), ("offset", "0"), ("length", "8")):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("x", "y")]
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    data = graph(ends[:1], [node], ends[1], initializer=[weights])
    onnx.checker.check_model(onnx.load_from_string(data))
    with pytest.raises(ArtifactInvalid, match="External data"):
        loaded(data)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_states_what_it_takes(tmp_path: Path) -> None:
    artifacts = {
        "ridge": exported(Ridge().fit(ROWS, SUM)),
        "regressor": exported(RandomForestRegressor(50, random_state=0).fit(ROWS, SUM)),
        "classifier": exported(RandomForestClassifier(30, random_state=0).fit(ROWS, LABELS)),
        "network": exported(
            MLPRegressor(hidden_layer_sizes=(300, 300), max_iter=5, random_state=0).fit(ROWS, SUM)
        ),
    }
    ratios = growth.ratios(list(artifacts.values()), ".onnx", tmp_path)
    found = dict(zip(artifacts, ratios, strict=True))
    assert all(0.5 < ratio < 2 for ratio in found.values()), found


@pytest.mark.parametrize(
    ("estimator", "takes_missing"),
    [
        (LinearRegression().fit(ROWS, SUM), False),
        (LogisticRegression().fit(ROWS, LABELS), False),
        (RandomForestRegressor(3).fit(ROWS, SUM), True),
    ],
)
def test_missing_values_are_refused_where_the_graph_makes_nan_of_them(
    estimator: Any, takes_missing: bool
) -> None:
    """As scikit-learn refuses them: the graph itself answers NaN without a word."""
    model = loaded(exported(estimator))
    assert model.accepts_missing is takes_missing
    assert len(model.predict_rows(ROWS)) == len(ROWS)
