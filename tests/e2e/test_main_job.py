"""The main job: real tenants served on one machine, through edits, deletes, bad input and kills."""

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from examples.nycflights.aircraft import FEATURES, Aircraft, fleet
from sklearn.linear_model import LinearRegression

from tenantry_server import publish
from tests.support.processes import up as ups
from tests.support.processes.up import Up, tenantry
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def aircraft() -> list[Aircraft]:
    return fleet(40)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("main-job")


@pytest.fixture(scope="module")
def up(aircraft: list[Aircraft], home: Path) -> Iterator[Up]:
    for one in aircraft:
        _publish(one, one.train(), home)
    with ups.running(home / "manifests", home / "state") as running:
        running.until_ready(len(aircraft))
        yield running


def _publish(aircraft: Aircraft, model: object, home: Path) -> None:
    publish(model, user_id=aircraft.tail_number, to=home / "models", manifests=home / "manifests")


def _manifest(up: Up, user_id: str) -> Path:
    return next(up.manifests.glob(f"{user_id.lower()}-*.yaml"))


def _expected(aircraft: Aircraft, count: int = 3, alpha: float = 1.0) -> list[float]:
    rows = pd.DataFrame(aircraft.rows(count))[FEATURES]
    return [float(value) for value in aircraft.train(alpha).predict(rows)]


def _answers_right(up: Up, aircraft: Aircraft, alpha: float = 1.0) -> None:
    """From every server, not only from the one that the system happens to choose."""
    expected = _expected(aircraft, alpha=alpha)
    for server in up.servers():
        reply = up.predict(aircraft.tail_number, aircraft.rows(3), server)
        assert reply.status == 200, reply
        np.testing.assert_allclose(reply.body, expected, rtol=1e-9)


def test_every_tenant_gets_its_own_model(up: Up, aircraft: list[Aircraft]) -> None:
    answers = set()
    for one in aircraft:
        _answers_right(up, one)
        reply = up.predict(one.tail_number, aircraft[0].rows())
        answers.add(reply.body[0])
        assert one.tail_number not in reply.headers["Tenantry-Model-Id"], (
            "clients learn no bucket and no key"
        )
        assert reply.headers["Tenantry-Server"] in ("server-0", "server-1")
    assert len(answers) == len(aircraft), "different aircraft answer differently on the same row"


def test_publish_waits_until_the_version_is_in_service_or_says_why_not(
    up: Up, aircraft: list[Aircraft], home: Path, tmp_path: Path
) -> None:
    """Once it ended well, every server answers with that version; a broken one ends with the reason."""
    one, file, broken = aircraft[7], tmp_path / "model.joblib", tmp_path / "broken.joblib"
    joblib.dump(one.train(500.0), file)
    broken.write_bytes(b"not a model at all")
    to = ["--to", str(home / "models"), "--manifests", str(home / "manifests"), "--user", one.tail_number]
    wait = ["--wait", "--timeout", "180", "--registry", up.registry_url]
    done = tenantry("publish", str(file), *to, *wait)
    assert done.returncode == 0, done.stderr
    _answers_right(up, one, alpha=500.0)
    done = tenantry("publish", str(broken), *to, *wait, "--no-check")
    assert done.returncode == 3, done.stderr
    assert "error: Stalled: default/" in done.stderr
    assert "ArtifactInvalid: " in done.stderr
    _answers_right(up, one, alpha=500.0)
    joblib.dump(one.train(), file)
    assert tenantry("publish", str(file), *to, *wait).returncode == 0
    _answers_right(up, one)


def test_an_edited_manifest_is_in_force_everywhere_and_nothing_restarts(
    up: Up, aircraft: list[Aircraft], home: Path
) -> None:
    one, before = aircraft[1], up.pids
    for alpha in (500.0, 1.0):
        generation = up.status(one.tail_number)["generation"]
        _publish(one, one.train(alpha), home)
        up.until_settled(one.tail_number, "Ready", after=generation)
        _answers_right(up, one, alpha)
    assert up.pids == before


def test_a_deleted_tenant_is_gone_and_comes_back(up: Up, aircraft: list[Aircraft], home: Path) -> None:
    one = aircraft[2]
    _manifest(up, one.tail_number).unlink()
    for url in up.servers():
        until(lambda url=url: up.predict(one.tail_number, one.rows(), url).status == 404, "404")  # type: ignore[misc]
    assert up.predict(one.tail_number, one.rows()).reason == "ModelNotAssigned"
    assert tenantry("get", one.tail_number, "--registry", up.registry_url).returncode == 1
    _publish(one, one.train(), home)
    until(lambda: up.predict(one.tail_number, one.rows()).status == 200, "back again")
    up.until_settled(one.tail_number, "Ready")
    _answers_right(up, one)


_HEAD = "apiVersion: tenantry.dev/v1alpha1\nkind: TenantModel\nmetadata: {name: NAME}\n"
_NO_MODEL = "uri: 'file://BESIDE/hostname', format: sklearn"
BAD_MANIFESTS = {
    "no YAML": ("apiVersion: [\n", "InvalidManifest", ":2: not YAML"),
    "wrong field": (
        f"{_HEAD}spec:\n  userId: USER\n  modle: {{}}\n",
        "InvalidManifest",
        ":6: spec.modle: unknown field; did you mean model?",
    ),
    "unknown format": (
        f"{_HEAD}spec: {{userId: USER, model: {{uri: 'file://BESIDE/hostname', format: odd}}}}\n",
        "UnknownFormat",
        "no loader for format 'odd'; this server knows sklearn",
    ),
    "no model in the artifact": (
        f"{_HEAD}spec: {{userId: USER, model: {{{_NO_MODEL}}}}}\n",
        "ArtifactInvalid",
        "is not a usable model",
    ),
    "no artifact": (
        f"{_HEAD}spec: {{userId: USER, model: {{uri: 'file://BESIDE/nowhere/a.joblib'}}}}\n",
        "ArtifactNotFound",
        "/nowhere/a.joblib; publish it there",
    ),
    "wrong digest": (
        f"{_HEAD}spec: {{userId: USER, model: {{{_NO_MODEL}, sha256: '{'0' * 64}'}}}}\n",
        "ArtifactDigestMismatch",
        "nothing was deserialised",
    ),
    "a file elsewhere": (
        f"{_HEAD}spec: {{userId: USER, model: {{uri: 'file:///etc/hostname', format: sklearn}}}}\n",
        "ArtifactOutsideRoots",
        "file:///etc/hostname is not below a folder that artifacts may come from",
    ),
    "another user": (
        f"{_HEAD}spec: {{userId: somebody-else, model: {{{_NO_MODEL}}}}}\n",
        "UserIdImmutable",
        "can't become 'somebody-else'",
    ),
}


@pytest.mark.parametrize(("text", "reason", "words"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_a_bad_edit_keeps_the_last_good_version_and_says_why(
    up: Up, aircraft: list[Aircraft], text: str, reason: str, words: str
) -> None:
    victim, neighbour = aircraft[3], aircraft[4]
    path = _manifest(up, victim.tail_number)
    good = path.read_text()
    beside = up.manifests.parent
    (beside / "hostname").write_text("here\n")
    filled = text.replace("NAME", path.stem).replace("USER", victim.tail_number)
    path.write_text(filled.replace("BESIDE", str(beside)))
    status = up.until_settled(victim.tail_number, reason)
    assert words in status["message"]
    assert "keeps serving" in status["message"]
    assert status["status"] == "False"
    _answers_right(up, victim)
    _answers_right(up, neighbour)
    path.write_text(good)
    up.until_settled(victim.tail_number, "Ready")
    _answers_right(up, victim)


def test_a_new_manifest_that_breaks_is_shown_with_file_and_line(up: Up, aircraft: list[Aircraft]) -> None:
    path = up.manifests / "typo.yaml"
    path.write_text(
        "apiVersion: tenantry.dev/v1alpha1\nkind: TenantModel\nmetadata: {name: typo}\nspec: {}\n"
    )
    status = until(lambda: _status_or_none(up, "typo"), "shown")
    assert status is not None
    assert f"{path}:4: spec.userId: is required and missing" in status["message"]
    _answers_right(up, aircraft[0])
    path.unlink()
    until(lambda: _status_or_none(up, "typo") is None, "gone again")


def _status_or_none(up: Up, name: str) -> dict[str, Any] | None:
    found = [tenant for tenant in up.tenants() if tenant["name"] == name]
    return found[0]["status"]["conditions"][0] if found else None


def test_of_two_manifests_for_one_user_the_older_serves(up: Up, aircraft: list[Aircraft]) -> None:
    holder, other = aircraft[5], aircraft[6]
    rival = up.manifests / "rival.yaml"
    text = _manifest(up, other.tail_number).read_text()
    text = text.replace(f"userId: {other.tail_number}", f"userId: {holder.tail_number}")
    rival.write_text(text.replace(f"name: {_manifest(up, other.tail_number).stem}", "name: rival"))
    status = until(lambda: _status_or_none(up, "rival"), "the rival is seen")
    assert status is not None
    assert status["reason"] == "UserIdConflict"
    assert f"default/{_manifest(up, holder.tail_number).stem}" in str(status["message"])
    _answers_right(up, holder)

    kept = _manifest(up, holder.tail_number)
    good = kept.read_text()
    kept.unlink()
    until(lambda: (_status_or_none(up, "rival") or {}).get("status") == "True", "promoted")
    rows = pd.DataFrame(other.rows())[FEATURES]
    promoted = up.predict(holder.tail_number, other.rows())
    np.testing.assert_allclose(promoted.body, other.train().predict(rows), rtol=1e-9)
    rival.unlink()
    kept.write_text(good)
    until(lambda: _status_or_none(up, "rival") is None, "the rival is gone")
    up.until_settled(holder.tail_number, "Ready")
    _answers_right(up, holder)


def test_a_killed_server_is_told_and_replaced_and_no_request_is_refused(
    up: Up, aircraft: list[Aircraft]
) -> None:
    """The clients' socket is held by `up` itself, so there is always somebody to connect to."""
    victim = up.pids["server-0"]
    os.kill(victim, signal.SIGKILL)
    for one in aircraft:
        reply = up.predict(one.tail_number, one.rows(3))
        np.testing.assert_allclose(reply.body, _expected(one), rtol=1e-9)
    until(lambda: up.pids["server-0"] != victim, "started again")
    died = [line for line in up.log if line["event"] == "died"]
    assert (died[-1]["name"], died[-1]["pid"], died[-1]["how"]) == ("server-0", victim, "SIGKILL")
    until(lambda: len(up.servers()) == 2 and up.all_reachable(), "both answer")
    for one in aircraft[:5]:
        _answers_right(up, one)


def test_a_killed_operator_is_told_and_replaced_and_forgets_nothing(
    up: Up, aircraft: list[Aircraft], home: Path
) -> None:
    victim, server = up.pids["operator"], up.pids["server-1"]
    os.kill(victim, signal.SIGKILL)
    one, gone = aircraft[7], aircraft[8]
    generation = up.status(one.tail_number)["generation"]
    _publish(one, one.train(alpha=50.0), home)  # while nobody looks
    manifest = _manifest(up, gone.tail_number)
    text = manifest.read_text()
    manifest.unlink()
    until(lambda: up.pids["operator"] != victim, "started again")
    up.until_settled(one.tail_number, "Ready", after=generation)
    _answers_right(up, one, alpha=50.0)
    until(lambda: up.predict(gone.tail_number, gone.rows()).status == 404, "the deletion is seen")
    assert up.pids["server-1"] == server
    manifest.write_text(text)
    up.until_settled(gone.tail_number, "Ready")


def test_the_command_shows_and_predicts(up: Up, aircraft: list[Aircraft]) -> None:
    user = aircraft[9].tail_number
    table = up.tenantry("get", "--registry", up.registry_url)
    assert user in table.stdout
    assert f"{len(aircraft)} of {len(aircraft)} Ready" in table.stderr
    one = up.tenantry("get", user, "--registry", up.registry_url).stdout
    assert "answers on every server" in one
    body = json.dumps(aircraft[9].rows(3))
    asked = up.tenantry("predict", user, "--data", body, "--registry", up.registry_url)
    np.testing.assert_allclose(json.loads(asked.stdout), _expected(aircraft[9]), rtol=1e-9)
    wrong = up.tenantry("predict", user, "--data", "[{}]", "--registry", up.registry_url)
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: 422 FeatureMismatch: row 0: missing columns 'dep_delay'")
    assert wrong.stderr.count("\n") == 1


def test_the_command_publishes(up: Up, tmp_path: Path, home: Path) -> None:
    file = tmp_path / "model.joblib"
    joblib.dump(LinearRegression().fit([[0.0], [1.0]], [5.0, 7.0]), file)
    args = ["--user", "Ann@shop", "--to", str(home / "models")]
    printed = up.tenantry("publish", str(file), *args)
    assert printed.returncode == 0, printed.stderr
    (up.manifests / "ann.yaml").write_text(printed.stdout)
    assert until(lambda: up.instance("Ann@shop", 2.0), "served") == pytest.approx(9.0)
    (up.manifests / "ann.yaml").unlink()


def test_probes_and_metrics(up: Up, aircraft: list[Aircraft]) -> None:
    assert len(up.get("servers")) == 2
    _answers_right(up, aircraft[0])
    for server in up.servers():
        for path, word in (("healthz", "ok"), ("readyz", "ready")):
            reply = ups.ask(urllib.request.Request(f"{server}/{path}"))
            assert (reply.status, reply.body["status"]) == (200, word)
        text = ups.ask(urllib.request.Request(f"{server}/metrics")).body
        assert "tenantry_cache_bytes" in text
        assert 'tenantry_requests_total{code="200"}' in text


def test_a_second_up_on_the_same_state_is_refused(up: Up) -> None:
    second = up.tenantry("up", str(up.manifests), "--state", str(up.state), "--port", "0")
    assert second.returncode == 1
    assert "another `tenantry up` uses" in second.stderr
