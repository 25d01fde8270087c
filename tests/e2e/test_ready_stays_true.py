"""Ready is taken back when a server can't load a model in force any more, and comes back by itself."""

import hashlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenantry_server import publish
from tenantry_server.cards.card import Card, Form
from tenantry_server.rows.columns import Column, Kind
from tests.support.processes import up as ups
from tests.support.processes.up import Up
from tests.support.waiting import until

FRAME = pd.DataFrame({"x": np.linspace(0.0, 1.0, 20), "y": np.linspace(1.0, 3.0, 20)})
ROW = [{"x": 0.5, "y": 2.0}]
DATA = Path(__file__).parents[1] / "data"
OLD, ADA = DATA / "sklearn-1.6.1", DATA / "sklearn-1.5.2" / "ada.joblib"
USERS = ("ann", "bob", "cid")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    folder = tmp_path_factory.mktemp("ready")
    manifests = folder / "tenants"
    manifests.mkdir()
    with ups.running(manifests, folder / "state", servers=2) as up:
        up.until_shared(2)  # a model that is handed over is not in memory yet where it goes
        for user_id in USERS:
            model = make_pipeline(StandardScaler(), Ridge()).fit(FRAME, FRAME.sum(axis=1))
            publish(model, user_id=user_id, to=folder / "models", manifests=manifests)
        up.until_ready(len(USERS))
        # In memory wherever it is asked for: a server that knows no other yet loads what is not its own.
        for user_id, url in product(USERS, up.servers()):
            assert up.predict(user_id, ROW, url).status == 200
        yield up


def artifact(up: Up, user_id: str) -> Path:
    (tenant,) = up.tenants(user_id)
    return Path(tenant["spec"]["model"]["uri"].removeprefix("file://"))


@contextmanager
def without(path: Path) -> Iterator[None]:
    """The artifact is gone, as a lifecycle rule would have it."""
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def restart_servers(up: Up) -> None:
    """Kill both; what they held in memory is gone."""
    before = up.pids
    servers = [name for name in before if name.startswith("server")]
    for name in servers:
        os.kill(before[name], signal.SIGKILL)
    until(lambda: all(up.pids[name] != before[name] for name in servers), "both start again")
    until(lambda: len(up.servers()) == 2 and up.all_reachable(), "both are ready")


def ready(up: Up, user_id: str) -> dict[str, Any] | None:
    status = up.status(user_id)
    return status if status["reason"] == "Ready" else None


def test_an_artifact_that_is_gone_takes_ready_back_until_it_is_there_again(up: Up) -> None:
    with without(artifact(up, "ann")):
        assert up.predict("ann", ROW).status == 200, "in memory"
        assert ready(up, "ann")
        restart_servers(up)
        status = up.until_settled("ann", "Degraded") if asked(up, "ann") else {}
        assert status["status"] == "False"
        assert "can't load version" in status["message"]
        assert "ArtifactNotFound" in status["message"]
        assert [c["type"] for c in status["conditions"] if c["status"] == "True"] == ["Reconciling"]
        shown = up.tenantry("get", "--registry", up.registry_url)
        assert "2 of 3 Ready, 1 Degraded" in shown.stderr
        until(lambda: any(line.get("degraded") == 1 for line in up.log), "up says so")
        assert up.predict("bob", ROW).status == 200
        assert ready(up, "bob")
    until(partial(ready, up, "ann"), "ann is Ready again, and nobody asked for her")
    assert up.predict("ann", ROW).status == 200
    until(lambda: "3 of 3 Ready" in up.tenantry("get", "--registry", up.registry_url).stderr, "all are")


def asked(up: Up, user_id: str) -> bool:
    return all(up.predict(user_id, ROW, url).status == 503 for url in up.servers())


def test_models_of_another_version_are_named_in_words(up: Up) -> None:
    """One that can't be read said "No module named '_loss'"; one that answers said nothing."""
    both = f"trained with scikit-learn 1.6.1, served by {sklearn.__version__}"
    for user_id in ("hist", "ridge"):
        publish(
            OLD / f"{user_id}.joblib",
            user_id=user_id,
            to=up.state.parent / "models",
            manifests=up.manifests,
            check=False,
        )
    assert both in up.until_settled("hist", "ArtifactInvalid")["message"]
    up.until_settled("ridge", "Ready")
    until(lambda: both in up.status("ridge")["message"], "Ready says so")
    assert up.status("ridge")["status"] == "True"
    assert up.predict("ridge", {"instances": [[1.0, 2.0]]}).status == 200
    assert any(line.get("skew") == both for line in up.log)


@pytest.mark.filterwarnings("ignore:Trying to unpickle estimator")
def test_a_card_finds_answers_that_another_version_gives(up: Up) -> None:
    """scikit-learn 1.9 reads an AdaBoostClassifier of 1.5.2, and answers otherwise: [0, 0, 1]."""
    rows, answers = [[-1.0, -1.0], [-2.0, -1.0], [2.0, 2.0]], [1, 1, 1]
    both = f"trained with scikit-learn 1.5.2, served by {sklearn.__version__}"
    models = up.state.parent / "models"
    publish(ADA, user_id="eve", to=models, manifests=up.manifests)
    up.until_settled("eve", "Ready")
    until(lambda: both in up.status("eve")["message"], "without a card a doubt is all there is")
    card = Card(
        form=Form.ARRAY,
        columns=(Column("0", Kind.NUMBER, "float64"), Column("1", Kind.NUMBER, "float64")),
        rows=rows,
        answers=answers,
        method="predict",
        relative=1e-6,
        absolute=1e-9,
        versions={"scikit-learn": "1.5.2"},
        statistics={},
    ).to_json()
    (models / "eve.card.json").write_bytes(card)
    pinned = {"uri": f"file://{models}/eve.card.json", "sha256": hashlib.sha256(card).hexdigest()}
    publish(ADA, user_id="eve", to=models, manifests=up.manifests, spec={"model": {"card": pinned}})
    status = up.until_settled("eve", "AnswersDiffer")
    assert "row 0" in status["message"]
    assert f"scikit-learn 1.5.2 there, {sklearn.__version__} here" in status["message"]


@pytest.mark.filterwarnings("ignore:Trying to unpickle estimator")
def test_a_skew_is_a_doubt_although_the_card_agrees(up: Up) -> None:
    """Twenty rows are not all that it may be asked."""
    publish(
        OLD / "ridge.joblib",
        user_id="fay",
        to=up.state.parent / "models",
        manifests=up.manifests,
        example=np.array([[1.0, 2.0], [0.5, -1.0]]),
    )
    up.until_settled("fay", "Ready")
    both = f"trained with scikit-learn 1.6.1, served by {sklearn.__version__}"
    until(lambda: both in up.status("fay")["message"], "Ready says so")


def test_a_request_for_a_stalled_model_is_not_told_to_retry(up: Up) -> None:
    (up.manifests / "dan.joblib").write_bytes(b"\x80 no model")
    (up.manifests / "dan.yaml").write_text(
        "apiVersion: tenantry.dev/v1alpha1\nkind: TenantModel\nmetadata: {name: dan}\n"
        f"spec: {{userId: dan, model: {{uri: 'file://{up.manifests}/dan.joblib'}}}}\n"
    )
    up.until_settled("dan", "ArtifactInvalid")

    def refused(url: str) -> bool:  # a second after it was asked for while it loaded
        reply = up.predict("dan", ROW, url)
        return (reply.status, reply.reason) == (503, "ModelStalled") and "Retry-After" not in reply.headers

    for url in up.servers():
        until(partial(refused, url), "the server says so")
    assert "ArtifactInvalid; " in up.predict("dan", ROW).body["error"]["message"]
