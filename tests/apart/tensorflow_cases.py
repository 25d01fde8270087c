"""TensorFlowModel, against what TensorFlow and Keras themselves answer; run by test_tensorflow.py."""

import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tenantry.errors import ArtifactInvalid
from tenantry_server import TensorFlowModel
from tests.apart import tensorflow_models as models
from tests.apart.tensorflow_models import FIGURES, ROWS, loaded

WRITERS = [models.keras_bytes, models.saved_bytes]


@pytest.fixture(params=WRITERS, ids=["keras", "savedmodel"])
def written(request: pytest.FixtureRequest) -> Callable[[Any], bytes]:
    """Both ways in which a network becomes an artifact."""
    writer: Callable[[Any], bytes] = request.param
    return writer


def same(answer: Any, expected: Any) -> None:
    """Within float32: the library adds up in another order for another number of rows."""
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-6)


def refusal(data: bytes, **model_id: Any) -> str:
    with pytest.raises(ArtifactInvalid) as refused:
        loaded(data, **model_id)
    return str(refused.value)


def test_it_answers_as_the_library_does_for_any_number_of_rows(written: Callable[[Any], bytes]) -> None:
    network = models.regression()
    model = loaded(written(network))
    assert (model.numeric, model.feature_count, model.feature_names) == (True, 4, None)
    expected = network.predict(FIGURES, verbose=0)[:, 0]
    for count in (50, 7, 1, 0):
        answer = model.predict_rows(ROWS[:count])
        assert answer.shape == (count,)
        assert answer.dtype == np.float32
        same(answer, expected[:count])
    same(model.predict(pd.DataFrame(ROWS)), expected)


def test_a_prediction_is_that_of_its_row_alone(written: Callable[[Any], bytes]) -> None:
    """Requests are scored together: neither BatchNormalization nor Dropout may be in training."""
    model = loaded(written(models.regression()))
    assert model.independent_rows
    alone = [model.predict_rows(row[np.newaxis])[0] for row in ROWS]
    same(model.predict_rows(ROWS), alone)


def test_a_classifier_gives_a_row_of_chances(written: Callable[[Any], bytes]) -> None:
    network = models.classifier()
    answer = loaded(written(network)).predict_rows(ROWS)
    assert answer.shape == (50, 3)
    same(answer, network.predict(FIGURES, verbose=0))


def test_inputs_of_one_column_each_are_taken_by_their_names(written: Callable[[Any], bytes]) -> None:
    network = models.of_columns()
    model = loaded(written(network))
    assert model.numeric
    assert sorted(model.feature_names or ()) == ["age", "km"]
    km, age = FIGURES[:, :1], FIGURES[:, 1:2]
    expected = network.predict([km, age], verbose=0)[:, 0]
    frame = pd.DataFrame({"age": age[:, 0], "km": km[:, 0]})
    same(model.predict(frame), expected)
    in_order = frame[list(model.feature_names or ())].to_numpy(dtype=np.float64)
    same(model.predict_rows(in_order), expected)


def test_text_reaches_a_vocabulary_inside_the_model(written: Callable[[Any], bytes]) -> None:
    network = models.of_text()
    model = loaded(written(network))
    assert not model.numeric
    frame = pd.DataFrame({"km": [1.0, 2.0, 3.0], "city": ["Oslo", "Rome", "Ærø"]})
    expected = network.predict(
        [np.array([[1.0], [2.0], [3.0]]), tf.constant([["Oslo"], ["Rome"], ["Ærø"]])], verbose=0
    )
    same(model.predict(frame), expected[:, 0])


@pytest.mark.parametrize(
    ("column", "values"),
    [("city", ["Oslo", None]), ("city", [3, 4]), ("km", ["far", "near"]), ("km", [1.0, None])],
)
def test_a_value_of_the_wrong_kind_is_refused_by_the_name_of_its_column(
    column: str, values: list[Any]
) -> None:
    model = loaded(models.keras_bytes(models.of_text()))
    rows = {"km": [1.0, 2.0], "city": ["Oslo", "Rome"]} | {column: values}
    with pytest.raises(ValueError, match=f"column '{column}'"):
        model.predict(pd.DataFrame(rows))


def test_whole_numbers_only_reach_an_input_of_integers(written: Callable[[Any], bytes]) -> None:
    network = models.of_ids()
    model = loaded(written(network))
    expected = network.predict(np.array([[1, 9]]), verbose=0)[:, 0]
    same(model.predict_rows(np.array([[1.0, 9.0]])), expected)
    for bad in (1.5, 1e12, np.nan):
        with pytest.raises(ValueError, match=r"row 1, column 0: .* is not of type int32"):
            model.predict_rows(np.array([[1.0, 9.0], [bad, 1.0]]))


def test_what_the_graph_itself_refuses_is_the_callers_fault(written: Callable[[Any], bytes]) -> None:
    """A ValueError becomes 422; an embedding of ten rows has no eleventh."""
    model = loaded(written(models.of_ids()))
    with pytest.raises(ValueError, match=r"= 10 is not in \[0, 10\)$"):
        model.predict_rows(np.array([[1.0, 10.0]]))


def test_a_number_beyond_float32_is_refused_and_not_made_infinite() -> None:
    model = loaded(models.keras_bytes(models.regression()))
    with pytest.raises(ValueError, match=r"row 0, column 2: 1e\+300 is not of type float32"):
        model.predict_rows(np.array([[0.0, 0.0, 1e300, 0.0]]))


def test_an_input_of_more_dimensions_takes_its_values_flattened(written: Callable[[Any], bytes]) -> None:
    network = models.of_images()
    model = loaded(written(network))
    assert model.feature_count == 36
    images = np.random.default_rng(1).normal(size=(3, 6, 6, 1)).astype(np.float32)
    expected = network.predict(images, verbose=0)
    answer = model.predict_rows(images.reshape(3, 36).astype(np.float64))
    same(answer, expected)


def test_a_module_of_ones_own_may_answer_with_text() -> None:
    halves = models.Halves()
    model = loaded(models.module_bytes(halves, serving_default=halves.label, other=halves.both))
    assert model.predict_rows(np.array([[0.4], [0.6]])).tolist() == ["lower", "upper"]


def test_a_single_signature_needs_no_special_name() -> None:
    halves = models.Halves()
    model = loaded(models.module_bytes(halves, label=halves.label))
    assert model.predict_rows(np.array([[0.6]])).tolist() == ["upper"]


def test_the_folder_may_stand_in_another_one() -> None:
    """As `zip -r model.zip model` makes it, and as TensorFlow Serving numbers its versions."""
    data = models.saved_bytes(models.regression(), top="model/1")
    assert loaded(data).predict_rows(ROWS).shape == (50,)


def test_a_model_in_memory_is_served_as_its_file_would_be() -> None:
    network = models.regression()
    same(
        TensorFlowModel(network).predict_rows(ROWS), loaded(models.keras_bytes(network)).predict_rows(ROWS)
    )


def test_nothing_of_an_artifact_stays_on_the_disk(
    written: Callable[[Any], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = written(models.of_text())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = loaded(data)
    assert list(tmp_path.iterdir()) == []
    assert model.predict(pd.DataFrame({"km": [1.0], "city": ["Oslo"]})).shape == (1,)


def test_models_load_and_answer_on_several_threads_at_once(written: Callable[[Any], bytes]) -> None:
    networks = [models.regression(units) for units in (3, 8)]
    expected = [network.predict(FIGURES, verbose=0)[:, 0] for network in networks]
    artifacts = [written(network) for network in networks]

    def load_and_ask(number: int) -> tuple[int, Any]:
        return number % 2, loaded(artifacts[number % 2]).predict_rows(ROWS)

    with ThreadPoolExecutor(4) as threads:
        for number, answer in threads.map(load_and_ask, range(4)):
            same(answer, expected[number])


@pytest.mark.parametrize("method", ["predict_proba", "decision_function"])
def test_there_is_no_other_method_than_predict(method: str) -> None:
    assert "spec.model.method" in refusal(models.keras_bytes(models.classifier()), method=method)
    assert loaded(models.keras_bytes(models.classifier()), method="predict").feature_count == 4


def test_code_in_a_keras_file_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "it ran"
    network = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Lambda(lambda x, path=str(mark): [x, Path(path).write_text("")][0]),
        ]
    )
    data = models.keras_bytes(network)
    mark.unlink(missing_ok=True)
    assert "Lambda" in refusal(data)
    assert not mark.exists()


def test_a_damaged_file_is_refused(written: Callable[[Any], bytes]) -> None:
    whole = written(models.regression())
    for data in (whole[: len(whole) // 2], whole[:-30], whole[:-1000] + bytes(1000)):
        assert refusal(data)
    for share in (0.3, 0.5, 0.7):
        changed = bytearray(whole)
        changed[int(len(whole) * share)] ^= 0xFF
        assert re.search("damaged|CRC", refusal(bytes(changed)))


def two_outputs() -> bytes:
    rows = keras.Input((4,))
    network = keras.Model(rows, [keras.layers.Dense(1, name="low")(rows), keras.layers.Dense(1)(rows)])
    return models.keras_bytes(network)


def fixed_batch() -> bytes:
    return models.keras_bytes(keras.Sequential([keras.Input(batch_shape=(8, 4)), keras.layers.Dense(1)]))


def wide_and_deep() -> bytes:
    parts = [keras.Input((2,), name="wide"), keras.Input((3,), name="deep")]
    network = keras.Model(parts, keras.layers.Dense(1)(keras.layers.Concatenate()(parts)))
    return models.keras_bytes(network)


def never_built() -> bytes:
    with pytest.warns(UserWarning, match="not yet been built"):
        return models.keras_bytes(keras.Sequential([keras.layers.Dense(1)]))


def one_answer_for_all_rows() -> bytes:
    halves = models.Halves()
    return models.module_bytes(halves, serving_default=halves.total)


def two_answers() -> bytes:
    halves = models.Halves()
    return models.module_bytes(halves, serving_default=halves.both)


def many_signatures() -> bytes:
    halves = models.Halves()
    return models.module_bytes(halves, first=halves.label, second=halves.both)


def no_signature() -> bytes:
    return models.module_bytes(tf.Module())


@pytest.mark.parametrize(
    ("artifact", "words"),
    [
        (two_outputs, "2 outputs"),
        (fixed_batch, "8 rows at a time"),
        (wide_and_deep, "'wide' takes 2 values"),
        (never_built, "are unknown; give it an Input"),
        (one_answer_for_all_rows, "gives shape () for one row"),
        (two_answers, "2 outputs (above, below)"),
        (many_signatures, "it has first, second"),
        (no_signature, "it has none"),
    ],
)
def test_what_is_no_table_of_rows_is_refused_in_words(artifact: Callable[[], bytes], words: str) -> None:
    message = refusal(artifact())
    assert re.search(re.escape(words), message), message
