"""`--local`: a table scored without servers, by models that a folder or a registry declares."""

import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.client import NoServer
from tenantry.registry import Assignment, Writes, migrate, open_engine
from tenantry.scoring import close, score_batch
from tenantry_server import publish
from tests.support.processes.up import tenantry
from tests.support.tenants.hostile.models import EndsOnLoad
from tests.support.tenants.manifest_folder import manifest
from tests.support.tenants.operator_side import leading

RNG = np.random.default_rng(7)
ROWS = RNG.normal(size=(60, 2))
USERS = ["ann", "bob", "cid", "dan", "eve", "zoe"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Manifests: two models that answer, one that ends its process, one that is lost, a double one."""
    folder = tmp_path_factory.mktemp("local")
    tenants = folder / "tenants"
    target = ROWS @ [2.0, 3.0]
    fitted = {"ann": Ridge().fit(ROWS, target), "bob": RandomForestRegressor(10).fit(ROWS, target)}
    for user, model in fitted.items():
        publish(model, user_id=user, to=folder / "models", manifests=tenants)
        joblib.dump(model, folder / f"{user}.joblib")
    joblib.dump(EndsOnLoad(9), folder / "hostile.joblib")
    (tenants / "cid.yaml").write_text(manifest("cid", uri=f"file://{folder}/hostile.joblib"))
    (tenants / "dan.yaml").write_text(manifest("dan", uri=f"file://{folder}/nothing.joblib"))
    for name in ("eve-1", "eve-2"):
        (tenants / f"{name}.yaml").write_text(manifest(name, user="eve", uri=f"file://{folder}/ann.joblib"))
    return folder


def table() -> pd.DataFrame:
    """Ten rows of each user."""
    users = [USERS[row % len(USERS)] for row in range(len(ROWS))]
    return pd.DataFrame({"store": users, "x0": ROWS[:, 0], "x1": ROWS[:, 1]})


def test_a_folder_of_manifests(folder: Path, tmp_path: Path) -> None:
    """Answers are those of the models, bit for bit; each failure is of its user alone, also a crash."""
    (tmp_path / "tmp").mkdir()
    table().to_parquet(tmp_path / "sales.parquet", index=False)
    done = tenantry(
        *("score", str(tmp_path / "sales.parquet"), "--user-column", "store"),
        *("--local", "--manifests", str(folder / "tenants"), "--out", str(tmp_path / "out.parquet")),
        env={"TMPDIR": str(tmp_path / "tmp")},
    )
    assert done.returncode == 3, done.stderr
    scored = pd.read_parquet(tmp_path / "out.parquet")
    assert scored["store"].tolist() == table()["store"].tolist()
    for user in ("ann", "bob"):
        mine = scored[scored["store"] == user]
        alone = [
            joblib.load(folder / f"{user}.joblib").predict([row])[0]
            for row in mine[["x0", "x1"]].to_numpy()
        ]
        assert mine["prediction"].tolist() == pytest.approx(alone, rel=1e-9)
        assert mine["reason"].isna().all()
    reasons = scored[scored["reason"].notna()].groupby("store")["reason"].unique()
    assert {user: set(found) for user, found in reasons.items()} == {
        "cid": {"ModelCrashed"},
        "dan": {"ArtifactNotFound"},
        "eve": {"InvalidManifest"},
        "zoe": {"ModelNotAssigned"},
    }
    assert "60 rows scored, 40 of them without a prediction" in done.stderr
    assert list((tmp_path / "tmp").iterdir()) == [], "the server ended, and left nothing"


def test_a_registry_from_python(folder: Path, tmp_path: Path) -> None:
    """The server is started once for the process."""
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    operator = leading(engine)
    exact = str(ModelId(f"file://{folder}/ann.joblib"))
    operator.commit(
        Writes(assignments=[Assignment("ann", "u1", 1, exact), Assignment("bob", "u2", 1, None)])
    )
    engine.dispose()
    try:
        first = score_batch(table(), local=url, user_column="store", retries=0)
        again = score_batch(table(), local=url, user_column="store", retries=0)
    finally:
        close()
    pd.testing.assert_frame_equal(first, again)
    by_user = first.groupby("store")["reason"].unique()
    assert list(by_user["ann"]) == [None]
    assert list(by_user["bob"]) == ["ModelNotReady"]
    assert list(by_user["cid"]) == ["ModelNotAssigned"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere", "nowhere is not a folder of manifests"),
        ("empty", "no TenantModel is declared in empty"),
        ("sqlite:///nothing.db", "no registry at nothing.db"),
        ("mysql://x", "unsupported database 'mysql'"),
    ],
)
def test_nothing_to_score_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str
) -> None:
    """The server's last words are those of the error."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    try:
        with pytest.raises(NoServer, match=f"the local server ended: .*{words}"):
            score_batch(table(), local=source, user_column="store")
    finally:
        close()
    assert os.listdir() == ["empty"]  # noqa: PTH208 - one name
