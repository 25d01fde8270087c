"""`tenantry doctor`, as a person runs it before an upgrade."""

import hashlib
import json
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tenantry import ModelId
from tenantry.model_id import CARD_SUFFIX
from tenantry.registry import Assignment, Writes, open_engine
from tenantry_server.cards.card import Card, Form
from tenantry_server.rows.columns import Column, Kind
from tests.support.databases.migrated import migrate
from tests.support.processes.up import tenantry
from tests.support.tenants.operator_side import leading

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
        Assignment("other", "uid-other", 1, with_card(folder)),
        Assignment("lost", "uid-lost", 1, None, candidate_id=lost),
        Assignment("twin", "uid-twin", 1, exact(OLD / "hist.joblib")),
        Assignment("nothing", "uid-nothing", 1, None),
    ]
    engine = open_engine(url)
    migrate(engine)
    operator = leading(engine)
    operator.commit(Writes(assignments=rows))
    engine.dispose()
    return url


def with_card(folder: Path) -> str:
    """A model of scikit-learn 1.5.2, with the card that it would have got there; 1.9 answers [0, 0, 1]."""
    artifact = folder / "other.joblib"
    artifact.write_bytes((OLD.parent / "sklearn-1.5.2" / "ada.joblib").read_bytes())
    card = Card(
        form=Form.ARRAY,
        columns=(Column("0", Kind.NUMBER, "float64"), Column("1", Kind.NUMBER, "float64")),
        rows=[[-1.0, -1.0], [-2.0, -1.0], [2.0, 2.0]],
        answers=[1, 1, 1],
        method="predict",
        relative=1e-6,
        absolute=1e-9,
        versions={"scikit-learn": "1.5.2"},
        statistics={},
    ).to_json()
    artifact.with_name(f"other.joblib{CARD_SUFFIX}").write_bytes(card)
    digests = {"sha256": artifact.read_bytes(), "card": card}
    return str(
        ModelId(
            artifact.as_uri(), **{name: hashlib.sha256(data).hexdigest() for name, data in digests.items()}
        )
    )


def exact(path: Path) -> str:
    return str(ModelId(path.as_uri(), sha256=hashlib.sha256(path.read_bytes()).hexdigest()))


def test_it_lists_whose_models_would_not_load_and_why(url: str) -> None:
    done = tenantry("doctor", "--registry", url, "--json")
    assert done.returncode == 1
    found = {each["userId"]: each for each in json.loads(done.stdout)}
    assert {user: each["reason"] for user, each in found.items()} == {
        "hist": "ArtifactInvalid",
        "lost": "ArtifactNotFound",
        "other": "AnswersDiffer",
        "ridge": "",
        "twin": "ArtifactInvalid",
        "well": "",
    }
    assert "trained with scikit-learn 1.6.1, served by" in found["hist"]["message"]
    assert "trained with scikit-learn 1.6.1, served by" in found["ridge"]["versionSkew"]
    assert found["well"] == {**found["well"], "ok": True, "message": "", "versionSkew": ""}
    assert "scikit-learn 1.5.2 there" in found["other"]["message"]
    assert "4 of 6 tenants would not be served, 1 by another version of their library" in done.stderr


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
