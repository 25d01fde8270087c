"""MLflow model folders, against what MLflow itself answers; run by test_mlflow.py."""

import json
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry import Forecaster, ModelId, TenantModel
from tenantry.errors import ArtifactInvalid, FeatureMismatch, FormatNotInstalled
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    bounded_cache,
    make_app,
    publish,
)
from tenantry_server.cards.card import Card, Form
from tenantry_server.formats import load_model
from tenantry_server.formats.checks import archive
from tenantry_server.rows.forecast_request import ForecastRequest
from tenantry_server.rows.json_payload import parse
from tenantry_server.scoring import forecasts
from tenantry_server.scoring.calls import score
from tenantry_server.workers.loading import WorkerLoads
from tenantry_server.workers.pool import Pool
from tests.apart import mlflow_folders as folders
from tests.apart.published import Published
from tests.support.processes.sandboxed import workers

SERIES = ("statsmodels-series", "prophet")
# What these answer is their library's own, not what MLflow's wrapper makes of it.
ROWS = [name for name in folders.KINDS if name not in SERIES]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Every folder, made once, and the models that they hold."""
    root = tmp_path_factory.mktemp("mlflow")
    models = {name: folders.write(name, root / name) for name in folders.KINDS}
    models["function"] = folders.write_function(root / "function")
    return root, models


def card_beside(declared: TenantModel) -> Card:
    assert declared.spec.model.card is not None
    return Card.read(Path(declared.spec.model.card.uri.removeprefix("file://")).read_bytes())


def artifact(declared: TenantModel) -> bytes:
    return Path(declared.spec.model.uri.removeprefix("file://")).read_bytes()


def asked(frame: Any) -> Any:
    if isinstance(frame, np.ndarray):
        return parse(json.dumps({"instances": frame.tolist()}).encode())
    turned = frame[frame.columns[::-1]]
    return parse(turned.to_json(orient="records", double_precision=15).encode())


@pytest.mark.parametrize("name", ROWS)
def test_each_flavour_is_published_and_answers_as_mlflow_does(
    name: str, written: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The signature and the input example become the card, and its rows are answered as MLflow answers."""
    root, _ = written
    declared = publish(root / name, user_id="ann", to=tmp_path)
    assert declared.spec.model.uri.endswith(".mlflow")
    example = folders.KINDS[name][2]
    rows = folders.NUMBERS if example is None else example
    answer = mlflow.pyfunc.load_model(str(root / name)).predict(rows[:6])
    expected = np.asarray(next(iter(answer.values())) if isinstance(answer, dict) else answer)  # of ONNX
    if example is None:
        assert declared.spec.model.card is None
        card = None
    else:
        card = card_beside(declared)
        assert len(card.rows) == 6
        assert card.form is (Form.ARRAY if isinstance(rows, np.ndarray) else Form.FRAME)
        np.testing.assert_allclose(np.ravel(card.answers), np.ravel(expected), rtol=1e-6)
        if name == "catboost":
            assert [(c.name, c.kind.value) for c in card.columns] == [
                ("km", "number"),
                ("hour", "integer"),
                ("city", "text"),
            ]
    model = load_model(
        artifact(declared),
        declared.spec.model.pinned(),
        None if card is None else card.to_json(),
    )
    given = rows[:6].drop(columns="const") if name == "statsmodels" else rows[:6]
    np.testing.assert_allclose(score(model, asked(given)), np.ravel(expected), rtol=1e-6)


@pytest.mark.parametrize("name", SERIES)
def test_series_are_forecasters(name: str, written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, models = written
    declared = publish(root / name, user_id="ann", to=tmp_path, example={"horizon": 5})
    card = card_beside(declared)
    model: Any = load_model(artifact(declared), declared.spec.model.pinned(), card.to_json())
    assert isinstance(model, Forecaster)
    if name == "prophet":
        future = models[name].make_future_dataframe(5, include_history=False)
        expected = models[name].predict(future)["yhat"]
    else:
        expected = models[name].forecast(5)
    assert forecasts.forecast(model, ForecastRequest(horizon=5)) is not None
    np.testing.assert_allclose([mean for _, mean in card.answers], expected, rtol=1e-6)


def test_without_a_card_the_signature_says_what_the_columns_are(
    written: tuple[Path, dict[str, Any]],
) -> None:
    root, _ = written
    data = archive.pack(root / "function")
    model = load_model(data, ModelId("file:///m.mlflow"))
    assert model.feature_names == ("km", "hour", "city")
    expected = 3 * folders.CITIES["km"][:4] + 4
    np.testing.assert_allclose(score(model, asked(folders.CITIES[:4])), expected)
    texts = load_model(archive.pack(root / "sklearn-pickled"), ModelId("file:///m.mlflow"))
    with pytest.raises(FeatureMismatch, match="column 'city' must be a text"):
        score(texts, parse(b'[{"city": 3}]'))


def test_methods_and_a_library_that_is_not_here(
    written: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No flavour but python_function imports MLflow."""
    root, models = written
    both = load_model(
        archive.pack(root / "sklearn"), ModelId("file:///m.mlflow", method="predict,predict_proba")
    )
    answer = score(both, asked(folders.NUMBERS[:2]))[0]
    chances = models["sklearn"].predict_proba(folders.NUMBERS[:2])[0]
    np.testing.assert_allclose(answer["predict_proba"], chances)
    with pytest.raises(ArtifactInvalid, match="a python_function has no method predict_proba"):
        load_model(archive.pack(root / "function"), ModelId("file:///m.mlflow", method="predict_proba"))
    for module in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
        monkeypatch.setitem(sys.modules, module, None)
    for name in folders.KINDS:
        load_model(archive.pack(root / name), ModelId("file:///m.mlflow"))
    with pytest.raises(FormatNotInstalled, match=r"pip install 'tenantry\[mlflow\]'"):
        load_model(archive.pack(root / "function"), ModelId("file:///m.mlflow"))
    monkeypatch.setitem(sys.modules, "prophet", None)
    with pytest.raises(ArtifactInvalid, match="'prophet', which can't be imported here"):
        load_model(archive.pack(root / "prophet"), ModelId("file:///m.mlflow"))


@pytest.mark.parametrize(
    ("flavor", "settings"),
    [
        ("sklearn", {"pickled_model": "../../etc/passwd"}),
        ("xgboost", {"data": "/etc/passwd"}),
        ("python_function", {"loader_module": "mlflow.sklearn", "model_path": "../model.pkl"}),
        ("python_function", {"artifacts": {"margin": {"path": "/etc/passwd"}}}),
    ],
)
def test_a_file_outside_of_the_folder_is_refused(
    flavor: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "MLmodel").write_text(json.dumps({"flavors": {flavor: settings}}))
    with pytest.raises(ArtifactInvalid, match="which lies outside of the folder"):
        load_model(archive.pack(tmp_path), ModelId("file:///m.mlflow"))


def test_a_broken_model_is_named_by_its_file(written: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, _ = written
    broken = {
        "sklearn-pickled": "its sklearn model model.pkl: it is not a joblib or pickle file",
        "xgboost": "its xgboost model model.ubj: ",
        "catboost": "its catboost model model.cb: it is not a CatBoost model",
        "lightgbm-booster": "its lightgbm model model.lgb: it is not a LightGBM model",
        "onnx": "its onnx model model.onnx: ",
        "prophet": "its prophet model can't be read",
        "function": "MLflow can't load its python_function",
    }
    for name, words in broken.items():
        folder = shutil.copytree(root / name, tmp_path / name)
        (file,) = [*folder.glob("model.*"), *folder.glob("python_model.pkl")]
        file.write_bytes(b"?!?!")
        with pytest.raises(ArtifactInvalid, match=words):
            load_model(archive.pack(folder), ModelId("file:///m.mlflow"))


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    async with workers(most=6) as pool:
        yield pool


async def test_folders_are_served_from_sandboxed_workers(
    pool: Pool, written: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Two functions that bring a module of the same name each run their own."""
    root, _ = written
    own = {}
    for name, factor in (("double", 2), ("triple", 3)):
        code = tmp_path / name / "shared_pricing.py"
        code.parent.mkdir()
        code.write_text(f"FACTOR = {factor}\n")
        folders.write_function(
            tmp_path / f"{name}-folder", python_model=folders.Priced(), code_paths=[str(code)]
        )
        own[name] = tmp_path / f"{name}-folder"
    ours = {**own, "function": root / "function", "xgboost": root / "xgboost", "sklearn": root / "sklearn"}
    declared = {
        user: publish(folder, user_id=user, to=tmp_path / "models", check=user not in own)
        for user, folder in ours.items()
    }
    files = FileSystemModelRepository()
    files.loader = WorkerLoads(pool, timeout_s=170).load
    app = make_app(
        Published({user: str(each.spec.model.pinned()) for user, each in declared.items()}),
        CachedModelRepository(files, bounded_cache(64 << 20)),
        pool=pool,
        predict_timeout_s=170,
    )
    rows = folders.CITIES[:3]
    expected = {"double": rows["km"] * 2, "triple": rows["km"] * 3, "function": rows["km"] * 3 + 4}
    async with TestClient(TestServer(app)) as client:
        for user in ours:
            frame = rows if user in expected else folders.NUMBERS[:3]
            body = frame.to_json(orient="records", double_precision=15)
            async with client.post(f"/predict/{user}", data=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
            if user in expected:
                np.testing.assert_allclose(
                    answer["predictions"] if isinstance(answer, dict) else answer, expected[user]
                )
