"""The version that wrote an artifact is read from its bytes, and named where a load fails."""

import io
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenantry import Model, ModelId
from tenantry.errors import ArtifactInvalid, UnknownFormat, VersionSkew
from tenantry_server.artifacts.repositories import load_here
from tenantry_server.formats import load_model
from tenantry_server.formats.checks import pickled_versions
from tenantry_server.formats.checks.pickled_versions import Skew, installed, skew_of, trained_with

pytestmark = pytest.mark.filterwarnings("ignore:Trying to unpickle estimator")
OLD = Path(__file__).parents[4] / "data" / "sklearn-1.6.1"
BOTH = f"trained with scikit-learn 1.6.1, served by {installed()}"


def fitted() -> Any:
    return make_pipeline(StandardScaler(), Ridge()).fit(np.eye(3), [1.0, 2.0, 3.0])


def old(name: str) -> Model:
    return load_model((OLD / name).read_bytes(), ModelId(f"file:///{name}"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_of_every_protocol_say_it(protocol: int) -> None:
    assert trained_with(pickle.dumps(fitted(), protocol)) == installed()


@pytest.mark.parametrize("compress", [0, *(("zlib", "gzip", "bz2", "xz", "lzma"))])
def test_joblib_files_of_every_compression_say_it(compress: Any) -> None:
    buffer = io.BytesIO()
    joblib.dump(fitted(), buffer, compress=(compress, 3) if compress else 0)
    assert trained_with(buffer.getvalue()) == installed()


def test_skops_files_say_it() -> None:
    assert trained_with(skops.io.dumps(fitted())) == installed()


@pytest.mark.parametrize("name", ["hist.joblib", "imputer.joblib", "ridge.joblib", "ridge.pkl"])
def test_real_files_of_another_version_say_it(name: str) -> None:
    data = (OLD / name).read_bytes()
    assert trained_with(data) == "1.6.1"
    assert str(skew_of(data)) == BOTH


def test_nothing_of_a_file_is_executed(tmp_path: Path) -> None:
    class Touches:
        def __reduce__(self) -> Any:
            return (tmp_path / "touched").touch, ()

    data = pickle.dumps([Touches(), fitted()])
    assert trained_with(data) == installed()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 no archive",
        b"\x78 neither zlib",
        b"\xfd7zXZ cut",
        pickle.dumps({"_sklearn_version": 7}),
        pickle.dumps({"_sklearn_version": "1.0; DROP TABLE"}),
        pickle.dumps({"_sklearn_version": "1." + "0" * 1000}),
        pickle.dumps(fitted())[:-40],
    ],
)
def test_strange_bytes_say_nothing_or_the_truth(data: bytes) -> None:
    assert trained_with(data) in (None, installed())


def test_a_patch_release_is_not_a_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    data = (OLD / "ridge.pkl").read_bytes()
    monkeypatch.setattr(pickled_versions, "installed", lambda: "1.6.9")
    assert skew_of(data) is None
    monkeypatch.setattr(pickled_versions, "installed", lambda: "1.7.0")
    assert skew_of(data) == Skew("1.6.1", "1.7.0")


def test_a_file_that_another_version_cannot_read_is_refused_with_both_versions() -> None:
    with pytest.raises(ArtifactInvalid) as refused:
        old("hist.joblib")
    assert f"is not a usable model: {BOTH} (ModuleNotFoundError" in str(refused.value)


@pytest.mark.parametrize("version", ["1.2.2", "1.6.1"])
def test_so_is_one_that_is_read_and_cannot_predict(version: str) -> None:
    data = (OLD.parent / f"sklearn-{version}" / "imputer.joblib").read_bytes()
    with pytest.raises(ArtifactInvalid, match="_fill_dtype") as refused:
        load_model(data, ModelId("file:///imputer.joblib"))
    assert str(refused.value).endswith(f"trained with scikit-learn {version}, served by {installed()}")


def test_one_that_answers_is_served_or_refused_as_the_setting_says() -> None:
    assert old("ridge.joblib").predict_rows(np.zeros((1, 2))).shape == (1,)
    data, exact = (OLD / "ridge.joblib").read_bytes(), ModelId("file:///ridge.joblib")
    assert load_here(data, exact).feature_count == 2
    with pytest.raises(VersionSkew, match="TENANTRY_VERSION_SKEW is refuse"):
        load_here(data, exact, refuse_skew=True)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(UnknownFormat):
        load_model(b"", ModelId("file:///m.odd"))
    with pytest.raises(ArtifactInvalid, match=r"^file:///m.joblib is not a usable model: it is empty$"):
        load_model(b"", ModelId("file:///m.joblib"))
