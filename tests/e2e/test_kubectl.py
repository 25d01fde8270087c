"""What a person does with kubectl, and what they see: two hundred real tenants, artifacts on S3."""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import pytest
import yaml
from examples.nycflights import aircraft as nycflights

from tenantry import TenantModel
from tenantry_server.publishing import object_name, to_yaml
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import Home, install_crd
from tests.support.kubernetes.kubectl import Kubectl
from tests.support.kubernetes.kubectl_fleet import (
    NAMESPACE,
    TENANT_MODELS,
    TENANTS,
    WAITERS,
    Fleet,
    assert_one,
)
from tests.support.processes.up import tenantry
from tests.support.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.waiting import until


@pytest.fixture(scope="module")
def fleet(plane: ControlPlane, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    install_crd(plane)
    plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
        home = Home(plane, tmp_path_factory.mktemp("kubectl"))
        try:
            home.start_operator("--namespace", NAMESPACE, env={"TENANTRY_RETRY_LAST_S": "1"})
            home.start_server("server-0")
            home.start_server("server-1")
            until(home.leads, "the operator leads")
            until(lambda: len(home.servers()) == 2, "two servers live")
            servers = list(home.servers().values())
            known = nycflights.fleet(TENANTS + 20)
            tenants, spare = known[:TENANTS], iter(known[TENANTS:])
            yield Fleet(home, Kubectl(plane.kubeconfig), s3, s3.bucket(), servers, tenants, spare)
        finally:
            home.stop()
            # `kubectl delete --all` would look at each for a fifth of a second.
            plane.request("DELETE", TENANT_MODELS)


@dataclass(frozen=True)
class Applied:
    """The two hundred manifests that were applied, and are Ready.

    Attributes:
        told: of each name, the reasons in the statuses that were written on the way.
    """

    folder: Path
    told: dict[str, list[str]]


@pytest.fixture(scope="module")
def applied(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Applied:
    folder = tmp_path_factory.mktemp("manifests")
    names = [fleet.publish(one, manifests=folder).name for one in fleet.tenants]
    history = fleet.history()
    done = fleet.kubectl.ok("apply", "-f", folder)
    assert done.count(" created\n") == TENANTS
    # kubectl asks for one object at a time, five a second: several of them are quicker.
    with ThreadPoolExecutor(WAITERS) as pool:
        list(pool.map(lambda own: fleet.wait("Ready", *own), [names[i::WAITERS] for i in range(WAITERS)]))
    return Applied(folder, history.reasons())


# The main job


def test_each_of_two_hundred_tenants_is_answered_by_its_own_model(fleet: Fleet, applied: Applied) -> None:
    """By every server, to nine digits; and the status of each was written once."""
    for one in fleet.tenants:
        fleet.assert_answers(one)
    assert len(applied.told) == TENANTS
    for told in applied.told.values():
        assert_one(told)


def test_applying_everything_again_writes_nothing(fleet: Fleet, applied: Applied) -> None:
    """As a GitOps pipeline does every few minutes."""
    before, history = _versions(fleet), fleet.history()
    done = fleet.kubectl.ok("apply", "-f", applied.folder)
    assert done.count(" unchanged\n") == TENANTS
    assert history.writes() == {}
    _make_a_change(fleet)
    after = _versions(fleet)
    assert {name: after[name] for name in before} == before


def _versions(fleet: Fleet) -> dict[str, str]:
    found = fleet.kubectl.json("get", "tm", "-n", NAMESPACE)["items"]
    return {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in found}


def _make_a_change(fleet: Fleet) -> None:
    """Until the operator has dealt with something newer than all that came before."""
    fleet.applied_and_ready(fleet.publish(next(fleet.spare)))


def test_server_side_apply_again_writes_nothing(fleet: Fleet) -> None:
    """The fields of the status are the operator's, and no conflict for the owner of the spec."""
    manifest = to_yaml(fleet.publish(next(fleet.spare)))
    name = yaml.safe_load(manifest)["metadata"]["name"]
    fleet.kubectl.ok("apply", "--server-side", "-f", "-", stdin=manifest)
    version = fleet.wait("Ready", name)["metadata"]["resourceVersion"]
    fleet.kubectl.ok("apply", "--server-side", "-f", "-", stdin=manifest)
    assert fleet.get(name)["metadata"]["resourceVersion"] == version


def test_a_label_costs_no_write_of_the_status(fleet: Fleet) -> None:
    name = fleet.publish(one := next(fleet.spare)).name
    fleet.applied_and_ready(fleet.publish(one))
    history = fleet.history()
    fleet.kubectl.ok("label", "tm", name, "-n", NAMESPACE, "team=blue")
    labelled = fleet.get(name)
    _make_a_change(fleet)
    assert fleet.get(name) == labelled
    assert name not in history.reasons()


def test_publish_applies_and_waits_by_itself(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By kubectl's context; labels of others stay, and what another tool set is not overruled unasked."""
    monkeypatch.setenv("KUBECONFIG", str(fleet.home.plane.kubeconfig))
    one, file, broken = next(fleet.spare), tmp_path / "model.joblib", tmp_path / "broken.joblib"
    joblib.dump(one.train(), file)
    broken.write_bytes(b"not a model at all")
    to = ["--user", one.tail_number, "--to", f"s3://{fleet.bucket}/models", "--namespace", NAMESPACE]
    wait = ["--apply", "--wait", "--timeout", "180"]
    done = tenantry("publish", str(file), *to, *wait)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    fleet.assert_answers(one)
    name = object_name(one.tail_number)
    fleet.kubectl.ok("label", "tm", name, "-n", NAMESPACE, "team=blue")
    joblib.dump(one.train(1000.0), file)
    assert tenantry("publish", str(file), *to, *wait).returncode == 0
    fleet.assert_answers(one, alpha=1000.0)
    assert fleet.get(name)["metadata"]["labels"] == {"team": "blue"}
    done = tenantry("publish", str(broken), *to, *wait, "--no-check")
    assert done.returncode == 3, done.stderr
    assert f"error: Stalled: {NAMESPACE}/{name}: ArtifactInvalid: " in done.stderr

    fleet.apply(declared := fleet.publish(one))  # kubectl owns the artifact from here on
    done = tenantry("publish", str(file), *to, *wait)
    assert done.returncode == 1, done.stderr
    assert "conflict" in done.stderr
    assert "--force-conflicts takes these fields over" in done.stderr
    assert fleet.get(name)["spec"]["model"]["uri"] == declared.spec.model.uri
    assert tenantry("publish", str(file), *to, *wait, "--force-conflicts").returncode == 0
    fleet.assert_answers(one, alpha=1000.0)


def test_a_table_is_applied_and_waited_for_and_its_status_is_that_of_the_worst_row(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that could not be published is status 1, one that is Stalled 3; the others answer."""
    monkeypatch.setenv("KUBECONFIG", str(fleet.home.plane.kubeconfig))
    one, other = next(fleet.spare), next(fleet.spare)
    joblib.dump(one.train(), tmp_path / "good.joblib")
    (tmp_path / "broken.joblib").write_bytes(b"not a model at all")
    path = tmp_path / "models.csv"

    def published(*rows: str) -> subprocess.CompletedProcess[str]:
        path.write_text("\n".join(("user,file,namespace", *(f"{row},{NAMESPACE}" for row in rows))))
        to = [
            "--to",
            f"s3://{fleet.bucket}/models",
            "--manifests",
            str(tmp_path / "manifests"),
            "--no-check",
        ]
        return tenantry(
            "publish", "--table", str(path), *to, "--apply", "--wait", "--timeout", "180"
        )  # fmt: skip

    good, broken = f"{one.tail_number},good.joblib", f"{other.tail_number},broken.joblib"
    done = published(good, broken)
    assert done.returncode == 3, done.stderr
    assert f"Stalled: {NAMESPACE}/{object_name(other.tail_number)}: ArtifactInvalid: " in done.stderr
    fleet.assert_answers(one)
    done = published(good, f"{other.tail_number},none.joblib")
    assert done.returncode == 1, done.stderr
    assert "1 of 2 were not published" in done.stderr
    assert published(good).returncode == 0


# The life of a tenant


def test_once_kubectl_waited_for_an_update_no_server_answers_with_the_old_version(fleet: Fleet) -> None:
    """And a rollback is the old manifest, applied again; one status write for each."""
    one = next(fleet.spare)
    first, second = fleet.publish(one), fleet.publish(one, alpha=1000.0)
    with fleet.one_write(first.name):
        fleet.applied_and_ready(first)
    fleet.assert_answers(one)
    with fleet.one_write(first.name):
        fleet.applied_and_ready(second)
    fleet.assert_answers(one, alpha=1000.0)
    with fleet.one_write(first.name):
        fleet.applied_and_ready(first)
    fleet.assert_answers(one)


def test_a_deleted_tenant_is_unknown_to_every_server(fleet: Fleet) -> None:
    """Kubectl is not held up: nothing has to be finalized."""
    one = next(fleet.spare)
    declared = fleet.publish(one)
    assert "finalizers" not in fleet.applied_and_ready(declared)["metadata"]
    fleet.delete(declared.name)

    def gone() -> bool:
        return [reply.status for reply in fleet.ask(one.tail_number, one.rows())] == [404, 404]

    until(gone, "404 from every server")
    assert {r.reason for r in fleet.ask(one.tail_number, one.rows())} == {"ModelNotAssigned"}


def test_of_two_for_one_user_the_younger_stalls_until_the_older_is_deleted(fleet: Fleet) -> None:
    """It says whose the user is, and nothing has to be done for it to take over."""
    one = next(fleet.spare)
    older = fleet.publish(one)
    created = fleet.applied_and_ready(older)["metadata"]["creationTimestamp"]
    # Creation times are whole seconds, and within one the uid decides.
    until(lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}" > created, "the next second")
    younger = fleet.publish(one, alpha=1000.0, name=f"{older.name}-rival")
    with fleet.one_write(younger.name):
        fleet.apply(younger)
        condition = _stalled(fleet.wait("Stalled", younger.name))
    assert condition["reason"] == "UserIdConflict"
    assert f"belongs to the TenantModel {NAMESPACE}/{older.name}; delete one" in condition["message"]
    assert re.search(
        rf"^{younger.name} +{one.tail_number} +False +UserIdConflict ", _table(fleet), re.MULTILINE
    )
    fleet.assert_answers(one)
    with fleet.one_write(younger.name):
        fleet.delete(older.name)
        fleet.wait("Ready", younger.name)
    fleet.assert_answers(one, alpha=1000.0)


def _stalled(found: dict[str, Any]) -> dict[str, Any]:
    """The Stalled condition, which says the same as Ready, whose truth is False."""
    ready, stalled = found["status"]["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "False")
    assert (stalled["type"], stalled["status"]) == ("Stalled", "True")
    assert (ready["reason"], ready["message"]) == (stalled["reason"], stalled["message"])
    return dict(stalled)


# Artifacts that are not what they should be


def test_a_bad_artifact_stalls_and_the_last_good_version_serves(fleet: Fleet) -> None:
    """Until a good one is applied; one write of the status for each."""
    one = next(fleet.spare)
    good = fleet.publish(one)
    ready = fleet.applied_and_ready(good)
    garbage = b"not a model at all"
    uri = fleet.put(f"{good.name}/garbage.joblib", garbage)
    for sha256, reason, told in (
        (hashlib.sha256(garbage).hexdigest(), "ArtifactInvalid", f"{uri} is not a usable model: "),
        ("0" * 64, "ArtifactDigestMismatch", f"expected {'0' * 64}; nothing was deserialised"),
    ):
        with fleet.one_write(good.name):
            fleet.apply(_pointing(good, uri=uri, sha256=sha256))
            found = fleet.wait_for_reason(reason, good.name)
        condition = _stalled(found)
        version = str(good.spec.model.sha256)[:8]
        assert told in condition["message"]
        assert condition["message"].endswith(f". Version {version} keeps serving")
        assert found["status"]["modelId"] == ready["status"]["modelId"]
        fleet.assert_answers(one)
    with fleet.one_write(good.name):
        mended = fleet.applied_and_ready(good)
    assert [c["type"] for c in mended["status"]["conditions"]] == ["Ready"]
    fleet.assert_answers(one)


def _pointing(declared: TenantModel, *, refresh: str | None = None, **model: str) -> TenantModel:
    """The same tenant with another artifact."""
    document = declared.to_manifest()
    document["spec"]["model"] = model
    document["spec"] |= {"refreshInterval": refresh} if refresh else {}
    return TenantModel.parse(document)


def test_an_artifact_that_is_missing_is_waited_for(fleet: Fleet) -> None:
    """Manifest first, artifact later: nobody has to apply anything again."""
    one = next(fleet.spare)
    name, key = object_name(one.tail_number), f"{one.tail_number}/late.joblib"
    declared = _pointing(fleet.publish(one), uri=f"s3://{fleet.bucket}/{key}")
    with fleet.one_write(name):
        fleet.apply(declared)
        found = fleet.wait_for_reason("ArtifactNotFound", name)
    ready, reconciling = found["status"]["conditions"]
    assert (ready["status"], reconciling["type"]) == ("False", "Reconciling")
    assert f"no artifact at {declared.spec.model.uri}; publish it there" in ready["message"]
    assert {r.reason for r in fleet.ask(one.tail_number, one.rows())} == {"ModelNotReady"}
    with fleet.one_write(name):
        fleet.put(key, fleet.artifact(one))
        fleet.wait("Ready", name)
    fleet.assert_answers(one)


def test_an_object_that_is_overwritten_in_place_is_followed(fleet: Fleet) -> None:
    """Where refreshInterval asks for it; an overwrite with garbage changes no answer."""
    one = next(fleet.spare)
    key = f"{one.tail_number}/latest.joblib"
    declared = _pointing(fleet.publish(one), uri=fleet.put(key, fleet.artifact(one)), refresh="1s")
    first = fleet.applied_and_ready(declared)["status"]["modelId"]
    fleet.assert_answers(one)
    with fleet.one_write(declared.name):
        fleet.put(key, fleet.artifact(one, alpha=1000.0))
        until(lambda: fleet.get(declared.name)["status"]["modelId"] != first, "the new object's model")
    followed = fleet.get(declared.name)
    assert [c["type"] for c in followed["status"]["conditions"]] == ["Ready"]
    assert followed["metadata"]["generation"] == 1
    fleet.assert_answers(one, alpha=1000.0)
    with fleet.one_write(declared.name):
        fleet.put(key, b"half a model")
        condition = _stalled(fleet.wait("Stalled", declared.name))
    assert condition["reason"] == "ArtifactInvalid"
    fleet.assert_answers(one, alpha=1000.0)
    with fleet.one_write(declared.name):
        fleet.put(key, fleet.artifact(one))
        fleet.wait("Ready", declared.name)
    fleet.assert_answers(one)


# The user of a TenantModel stays: tests/e2e/test_modern_api.py has what a newer API server says of it


def test_another_user_id_stalls_where_the_api_server_is_old(fleet: Fleet) -> None:
    """The former user keeps its model, and the new one gets none."""
    if fleet.home.plane.version_info >= (1, 25):
        pytest.skip(f"kube-apiserver {fleet.home.plane.version} refuses it itself, by CEL")
    one = next(fleet.spare)
    declared = fleet.publish(one)
    fleet.applied_and_ready(declared)
    with fleet.one_write(declared.name):
        fleet.apply(_renamed(declared))
        condition = _stalled(fleet.wait("Stalled", declared.name))
    assert condition["reason"] == "UserIdImmutable"
    assert f"spec.userId was {one.tail_number!r} and can't become 'somebody-else'" in condition["message"]
    fleet.assert_answers(one)
    assert [r.status for r in fleet.ask("somebody-else", one.rows())] == [404, 404]
    with fleet.one_write(declared.name):
        fleet.applied_and_ready(declared)


def _renamed(declared: TenantModel) -> TenantModel:
    document = declared.to_manifest()
    document["spec"]["userId"] = "somebody-else"
    return TenantModel.parse(document)


# What kubectl shows

GOOD = """\
apiVersion: tenantry.dev/v1alpha1
kind: TenantModel
metadata: {name: typo, namespace: fleet}
spec:
  userId: store-042
  model:
    uri: s3://models/store-042/7.joblib
"""


# Part of the good manifest, what stands there instead, and each thing that kubectl has to say about it.
# A server from 1.25 on finds what kubectl itself looks for where the server is older, in other words.
REFUSED = {
    "a user with a slash": ("store-042\n", "store/042\n", ("spec.userId", '"store/042"')),
    "a user that is a number": ("store-042\n", "42\n", ("spec.userId", "type string", "integer")),
    "no user": ("  userId: store-042\n", "", ("userId", "equired")),
    "no uri": ("    uri: s3://models/store-042/7.joblib", "    method: predict", ("uri", "equired")),
    "a uri of another scheme": (
        "s3://",
        "https://",
        ("spec.model.uri", '"https://models/store-042/7.joblib"'),
    ),
    "a uri with a query": (".joblib", ".joblib?versionId=1", ("spec.model.uri", ".joblib?versionId=1")),
    "a misspelt field": ("  userId:", "  prewarn: true\n  userId:", ("unknown field", "prewarn")),
    "a misspelt field below": ("    uri:", "    metod: predict\n    uri:", ("unknown field", "metod")),
    "a method that is unknown": (
        "    uri:",
        "    method: transform\n    uri:",
        ("spec.model.method", '"transform"', '"predict", "predict_proba", "decision_function"'),
    ),
    "YAML's off": ("    uri:", "    compile: off\n    uri:", ("spec.model.compile", "string", "boolean")),
    "text for a truth": ("  userId:", "  prewarm: 'yes'\n  userId:", ("spec.prewarm", "boolean", "string")),
    "an interval in days": (
        "  userId:",
        "  refreshInterval: 1d\n  userId:",
        ("spec.refreshInterval", '"1d"'),
    ),
    "a version of the API that is unknown": ("v1alpha1", "v7", ('no matches for kind "TenantModel"', "v7")),
    "malformed YAML": ("  userId:", "   userId:", ("error parsing", "typo.yaml", "yaml: line ")),
}


@pytest.mark.parametrize(("part", "instead", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_kubectl_says_what_the_schema_refuses(
    fleet: Fleet, part: str, instead: str, told: tuple[str, ...], tmp_path: Path
) -> None:
    """And nothing is created."""
    bad = tmp_path / "typo.yaml"
    bad.write_text(GOOD.replace(part, instead))
    done = fleet.kubectl.run("apply", "-f", bad)
    assert done.returncode == 1, done.stdout
    assert [words for words in told if words not in done.stderr] == [], done.stderr
    assert fleet.kubectl.run("get", "tm", "typo", "-n", NAMESPACE).returncode == 1


def test_a_bad_file_in_a_folder_holds_up_no_other(fleet: Fleet, tmp_path: Path) -> None:
    """Kubectl names the file, and applies the rest."""
    good = fleet.publish(next(fleet.spare), manifests=tmp_path)
    (tmp_path / "aaa.yaml").write_text(GOOD.replace("s3://", "https://"))
    (tmp_path / "zzz.yaml").write_text(GOOD.replace("  userId:", "   userId:"))
    done = fleet.kubectl.run("apply", "-f", tmp_path)
    assert done.returncode == 1
    assert re.search("error parsing .*/zzz.yaml: .*yaml: line", done.stderr), done.stderr
    refused = 'aaa.yaml": .*"typo" is invalid: spec.model.uri: Invalid value: "https'
    assert re.search(refused, done.stderr), done.stderr
    fleet.wait("Ready", good.name)


def test_the_good_manifest_of_the_table_is_accepted(fleet: Fleet) -> None:
    """Else each of them could be refused for another reason."""
    fleet.kubectl.ok("apply", "--dry-run=server", "-f", "-", stdin=GOOD)


EXPLAINED = ["tenantmodel.spec", "tenantmodel.spec.model", "tenantmodel.status", "tm.status.conditions"]


@pytest.mark.parametrize("path", EXPLAINED)
def test_kubectl_explains_every_field_in_whole_sentences(fleet: Fleet, path: str) -> None:
    explained = fleet.kubectl.ok("explain", path)
    fields = re.split(r"\n\n+", explained.partition("FIELDS:\n")[2].strip("\n"))
    unclear = [field for field in fields if not _described(field)]
    assert len(fields) > 1
    assert unclear == []


def _described(field: str) -> bool:
    """Whether text follows the line with name and type, and it ends as a sentence does."""
    lines = [line.strip() for line in field.strip().splitlines()[1:]]
    text = " ".join(line for line in lines if not line.startswith("enum:"))
    return text.endswith(".") and "<no description>" not in text


def test_kubectl_get_shows_user_state_and_reason(fleet: Fleet) -> None:
    """And, asked for more, the artifact: an S3 address would fill a narrow terminal."""
    one = next(fleet.spare)
    declared = fleet.publish(one)
    fleet.applied_and_ready(declared)
    assert _table(fleet).splitlines()[0].split() == ["NAME", "USER", "READY", "REASON", "AGE"]
    assert re.search(
        rf"^{declared.name} +{one.tail_number} +True +Ready +\d+s", _table(fleet), re.MULTILINE
    )
    wide = _table(fleet, "-o", "wide")
    assert wide.splitlines()[0].split() == ["NAME", "USER", "MODEL", "READY", "REASON", "MESSAGE", "AGE"]
    assert f" {declared.spec.model.uri} " in wide


def _table(fleet: Fleet, *args: str) -> str:
    return fleet.kubectl.ok("get", "tm", "-n", NAMESPACE, *args)
