"""`tenantry doctor --fix` on real artifacts of another scikit-learn version."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import joblib
import pytest
import yaml

from tenantry import ModelId
from tenantry.model_id import CARD_SUFFIX
from tenantry.registry import Assignment, Claim, Writes, open_engine
from tenantry_server.cards.card import Card, Form
from tenantry_server.formats.checks.pickled_versions import trained_with
from tenantry_server.rows.columns import Column, Kind
from tenantry_server.scoring.golden import version_here
from tests.support.databases.migrated import migrate
from tests.support.processes.up import tenantry
from tests.support.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.tenants.operator_side import leading

DATA = Path(__file__).parents[2] / "data"
RIDGE = DATA / "sklearn-1.6.1" / "ridge.joblib"
ROWS = [[0.5, -1.0], [2.0, 3.0]]


class Fleet:
    """A registry and a store with one tenant for each artifact, and the manifests of all."""

    def __init__(self, folder: Path) -> None:
        self.store, self.manifests = folder / "store", folder / "manifests"
        self.store.mkdir()
        self.manifests.mkdir()
        self.url = f"sqlite:///{folder}/registry.db"
        self._writes: list[tuple[Claim, Assignment]] = []

    def add(
        self, user: str, source: Path, answers: list[Any] | None = None, *, then: str = "", **spec: Any
    ) -> ModelId:
        """Declare one tenant; `answers` are its card's, `then` is what its manifest names since."""
        path = self.store / f"{user}{source.suffix}"
        path.write_bytes(source.read_bytes())
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        model: dict[str, Any] = {"uri": path.as_uri(), "sha256": digest}
        exact = ModelId(path.as_uri(), sha256=digest)
        if answers is not None:
            card = card_of(answers)
            beside = path.with_name(path.name + CARD_SUFFIX)
            beside.write_bytes(card)
            card_digest = hashlib.sha256(card).hexdigest()
            model["card"] = {"uri": beside.as_uri(), "sha256": card_digest}
            exact = ModelId(exact.uri, sha256=digest, card=card_digest)
        model["uri"] = then or model["uri"]
        document = {"userId": user, "model": model, **spec}
        self.assign(user, exact, document)
        manifest = {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": user, "namespace": "shop", "labels": {"team": "red"}},
            "spec": document,
        }
        (self.manifests / f"{user}.yaml").write_text(yaml.safe_dump(manifest))
        return exact

    def assign(self, user: str, exact: ModelId, spec: dict[str, Any]) -> None:
        """Let a model be in force for a user whose TenantModel says `spec`."""
        claim = Claim(f"uid-{user}", "shop", user, user, 1.0, 1, spec, origin=f"{user}.yaml")
        self._writes.append((claim, Assignment(user, claim.uid, 1, str(exact))))

    def commit(self) -> None:
        """Write what was added."""
        engine = open_engine(self.url)
        migrate(engine)
        operator = leading(engine)
        claims, rows = zip(*self._writes, strict=True)
        operator.commit(Writes(claims=claims, assignments=rows))
        engine.dispose()

    def files(self) -> dict[str, bytes]:
        """Every file of the store and of the manifests."""
        return {
            str(path.relative_to(self.store.parent)): path.read_bytes()
            for folder in (self.store, self.manifests)
            for path in folder.iterdir()
        }

    def doctor(self, *args: str, **env: str) -> tuple[int, dict[str, dict[str, Any]], str]:
        """Run it; return the status, each tenant's document, and what was said."""
        done = tenantry("doctor", "--registry", self.url, "--json", *args, env=env)
        return done.returncode, {each["userId"]: each for each in json.loads(done.stdout)}, done.stderr


def card_of(answers: list[Any]) -> bytes:
    return Card(
        form=Form.ARRAY,
        columns=(Column("0", Kind.NUMBER, "float64"), Column("1", Kind.NUMBER, "float64")),
        rows=ROWS,
        answers=answers,
        method="predict",
        relative=1e-6,
        absolute=1e-9,
        versions={"scikit-learn": "1.6.1", "numpy": "2.2.6", "gone-since": "1.0"},
        statistics={},
    ).to_json()


@pytest.fixture(scope="module")
def answers() -> list[float]:
    """What the model of scikit-learn 1.6.1 answers, there and here."""
    with pytest.warns(match="1.6.1"):
        model = joblib.load(RIDGE)
    return [float(each) for each in model.predict(ROWS)]


def test_a_model_that_answers_as_its_card_is_stored_again_and_declared(
    tmp_path: Path, answers: list[float]
) -> None:
    """Once: a second run writes nothing, and what was stored loads where a skew is refused."""
    fleet = Fleet(tmp_path)
    fleet.add("ridge", RIDGE, answers, prewarm=True)
    fleet.add("pickled", RIDGE.with_suffix(".pkl"), answers)
    fleet.commit()
    before = fleet.files()
    fix = ("--fix", "--manifests", str(fleet.manifests))
    status, found, said = fleet.doctor(*fix)
    assert status == 0, found
    assert "2 fixed" in said
    after = fleet.files()
    assert len(after) == len(before) + 4  # two artifacts, two cards
    assert all(after[name] == data for name, data in before.items() if name.startswith("store/"))
    for user, declared in (("ridge", {"prewarm": True}), ("pickled", {})):
        stored = found[user]["fix"]["stored"]
        manifest = yaml.safe_load((fleet.manifests / f"{user}.yaml").read_text())
        assert manifest["spec"] == {"userId": user, "model": stored, **declared}
        assert manifest["metadata"]["labels"] == {"team": "red"}
        path, card_path = (Path(each["uri"].removeprefix("file://")) for each in (stored, stored["card"]))
        assert trained_with(path.read_bytes()) == version_here("scikit-learn")
        card = Card.read(card_path.read_bytes())
        assert card.answers == answers
        assert card.versions == {name: version_here(name) for name in ("scikit-learn", "numpy")}

    status, found, said = fleet.doctor(*fix)
    assert (status, fleet.files()) == (0, after)
    assert "0 fixed" in said

    (tmp_path / "applied").mkdir()
    applied = Fleet(tmp_path / "applied")
    for user in ("ridge", "pickled"):
        stored = found[user]["fix"]["stored"]
        exact = ModelId(stored["uri"], sha256=stored["sha256"], card=stored["card"]["sha256"])
        applied.assign(user, exact, {"userId": user, "model": stored})
    applied.commit()
    status, found, _ = applied.doctor("--fix", TENANTRY_VERSION_SKEW="refuse")
    assert status == 0, found
    assert {each["fix"]["message"] for each in found.values()} == {""}


def test_what_can_not_be_mended_soundly_is_not_touched(tmp_path: Path, answers: list[float]) -> None:
    """Each is said in words, with what to do."""
    fleet = Fleet(tmp_path)
    fleet.add("cardless", RIDGE)
    fleet.add("other", RIDGE, [answers[0], answers[1] + 1])
    fleet.add("broken", DATA / "sklearn-1.6.1" / "hist.joblib", answers)
    fleet.add("follows", RIDGE, answers, refreshInterval="5m")
    fleet.add("moved", RIDGE, answers, then="file:///models/newer.joblib")
    fleet.commit()
    before = fleet.files()
    status, found, said = fleet.doctor("--fix", "--manifests", str(fleet.manifests))
    assert status == 1
    assert fleet.files() == before
    assert "0 fixed" in said
    assert {user: each["reason"] for user, each in found.items()} == {
        "broken": "ArtifactInvalid",
        "cardless": "",
        "follows": "",
        "moved": "",
        "other": "AnswersDiffer",
    }
    words = {user: each["fix"]["message"] for user, each in found.items()}
    assert "it has no card" in words["cardless"]
    assert "refreshInterval" in words["follows"]
    assert "another version is declared already: file:///models/newer.joblib" in words["moved"]
    for user in ("broken", "cardless", "other"):
        assert "publish it with example=" in words[user]
        assert found[user]["fix"]["stored"] is None


def test_without_a_folder_of_manifests_the_command_is_printed(
    tmp_path: Path, answers: list[float], s3: S3Server
) -> None:
    """Also of a model that servers refuse only for its version, from a folder and from S3."""
    fleet = Fleet(tmp_path)
    fleet.add("ridge", RIDGE, answers)
    bucket, client = s3.bucket(), s3.client()
    data, card = RIDGE.read_bytes(), card_of(answers)
    for name, body in (("ann.joblib", data), ("ann.joblib" + CARD_SUFFIX, card)):
        client.put_object(Bucket=bucket, Key=name, Body=body)
    sha256, card_sha256 = (hashlib.sha256(each).hexdigest() for each in (data, card))
    away = ModelId(f"s3://{bucket}/ann.joblib", sha256=sha256, card=card_sha256)
    model = {
        "uri": away.uri,
        "sha256": sha256,
        "card": {"uri": away.uri + CARD_SUFFIX, "sha256": card_sha256},
    }
    fleet.assign("ann", away, {"userId": "ann", "model": model})
    fleet.commit()
    before = fleet.files()
    status, found, said = fleet.doctor(
        "--fix",
        TENANTRY_VERSION_SKEW="refuse",
        TENANTRY_S3_ENDPOINT_URL=s3.url,
        AWS_ACCESS_KEY_ID=ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=SECRET_KEY,
        AWS_DEFAULT_REGION="us-east-1",
    )
    assert status == 1  # until they are declared
    assert "2 fixed" in said, said
    stored = found["ann"]["fix"]["stored"]
    key = stored["uri"].removeprefix(f"s3://{bucket}/")
    written = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    assert hashlib.sha256(written).hexdigest() == stored["sha256"]
    assert trained_with(written) == version_here("scikit-learn")
    assert client.get_object(Bucket=bucket, Key="ann.joblib")["Body"].read() == data
    fix = found["ridge"]["fix"]
    *command, patch = shlex.split(fix["command"])
    assert command == shlex.split("kubectl patch tenantmodel ridge -n shop --type merge -p")
    assert json.loads(patch)["spec"]["model"] == {**fix["stored"], "versionId": None, "format": None}
    assert {name: fleet.files()[name] for name in before} == before
