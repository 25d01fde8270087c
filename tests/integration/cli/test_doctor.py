"""`tenantry doctor`, as a person runs it before an upgrade."""

import hashlib
import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.registry import Assignment, OperatorRegistry, Writes, migrate, open_engine
from tests.support.processes.up import tenantry

OLD = Path(__file__).parents[2] / "data" / "sklearn-1.6.1"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a registry with models that answer, and one that waits to."""
    folder = tmp_path_factory.mktemp("doctor")
    url = f"sqlite:///{folder}/registry.db"
    joblib.dump(Ridge().fit(np.eye(2), [1.0, 2.0]), folder / "well.joblib")
    paths = [OLD / "hist.joblib", OLD / "ridge.joblib", folder / "well.joblib"]
    rows = [Assignment(path.stem, f"uid-{path.stem}", 1, exact(path)) for path in paths]
    lost = str(ModelId(f"file://{folder}/lost.joblib", sha256="0" * 64))
    rows += [
        Assignment("lost", "uid-lost", 1, None, candidate_id=lost),
        Assignment("twin", "uid-twin", 1, exact(OLD / "hist.joblib")),
        Assignment("nothing", "uid-nothing", 1, None),
    ]
    engine = open_engine(url)
    migrate(engine)
    operator = OperatorRegistry(engine, "test")
    operator.lead("a test")
    operator.commit(Writes(assignments=rows))
    engine.dispose()
    return url


def exact(path: Path) -> str:
    return str(ModelId(path.as_uri(), sha256=hashlib.sha256(path.read_bytes()).hexdigest()))


def test_it_lists_whose_models_would_not_load_and_why(url: str) -> None:
    done = tenantry("doctor", "--registry", url, "--json")
    assert done.returncode == 1
    found = {each["userId"]: each for each in json.loads(done.stdout)}
    assert {user: each["reason"] for user, each in found.items()} == {
        "hist": "ArtifactInvalid",
        "lost": "ArtifactNotFound",
        "ridge": "",
        "twin": "ArtifactInvalid",
        "well": "",
    }
    assert "trained with scikit-learn 1.6.1, served by" in found["hist"]["message"]
    assert "trained with scikit-learn 1.6.1, served by" in found["ridge"]["versionSkew"]
    assert found["well"] == {**found["well"], "ok": True, "message": "", "versionSkew": ""}
    assert "3 of 5 tenants would not be served, 1 by another version of their library" in done.stderr


def test_a_skew_is_a_warning_unless_the_servers_are_to_refuse_it(url: str) -> None:
    warned = tenantry("doctor", "--registry", url, "--user", "ridge", "--user", "well")
    assert warned.returncode == 0
    assert "VersionSkew  trained with scikit-learn 1.6.1" in warned.stdout
    assert "well" not in warned.stdout
    refuse = {"TENANTRY_VERSION_SKEW": "refuse"}
    refused = tenantry("doctor", "--registry", url, "--user", "ridge", env=refuse)
    assert refused.returncode == 1
    assert "TENANTRY_VERSION_SKEW is refuse" in refused.stdout


def test_a_user_without_a_model_is_an_error(url: str) -> None:
    done = tenantry("doctor", "--registry", url, "--user", "nobody")
    assert done.returncode == 1
    assert "no model is assigned to user 'nobody'" in done.stderr
