"""The operator, the sensor and the example in a real Airflow of one process: `dag.test()` on SQLite.

The environment names what the caller runs: TENANTRY_HOME, of `tenantry up`; KUBECONFIG_FILE, of an API
server; the DAGs folder of Airflow.
"""

import importlib.metadata
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import airflow
import joblib
import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.utils import db
from examples.airflow import stores
from kubernetes import client, config
from sklearn.linear_model import Ridge

from tenantry_airflow import cluster
from tenantry_airflow.provider import get_provider_info
from tests.apart import airflow_dags

HOME = Path(os.environ["TENANTRY_HOME"])
KUBECONFIG = os.environ["KUBECONFIG_FILE"]
STORES = 12


@pytest.fixture(scope="session", autouse=True)
def metadata() -> None:
    """Airflow's own tables, in a database that nobody else has."""
    db.initdb()


class Ran:
    """What became of a run of a DAG.

    Attributes:
        states: of its tasks by their names, each with how often it was tried.
        text: what they logged.
    """

    def __init__(self, run: Any, text: str) -> None:
        self.run = run
        self.text = text
        self.states = {
            each.task_id: (str(each.state), each.try_number) for each in run.get_task_instances()
        }

    def returned(self, task_id: str) -> Any:
        """What a task returned by XCom."""
        return self.run.get_task_instance(task_id).xcom_pull(task_ids=task_id)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def run_one(dag: Any, **params: Any) -> Ran:
        capfd.readouterr()
        ended = dag.test(run_conf={"home": str(HOME), **params})
        said = capfd.readouterr()
        print(said.out, said.err)  # shown where the case fails
        return Ran(ended, said.out + said.err)

    return run_one


def test_airflow_finds_the_provider_and_all_that_it_names() -> None:
    """As it would after `pip install 'tenantry[airflow]'`: by the entry point of the wheel."""
    found = ProvidersManager().providers["tenantry"]
    assert found.version == importlib.metadata.version("tenantry")
    schema = Path(airflow.__file__).parent / "provider_info.schema.json"
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))
    kinds = ("operators", "sensors", "triggers")
    named = {name for kind in kinds for each in found.data[kind] for name in each["python-modules"]}
    for name in named:
        importlib.import_module(name)
    assert len(named) == 3


def test_the_example_fails_at_once_where_a_store_is_stalled(run: Callable[..., Ran]) -> None:
    """Another TenantModel had the user of one store before: a person must act, and no retry helps."""
    taken = (HOME / "taken").read_text()
    ran = run(stores.dag, stores=STORES + 1)
    assert ran.states == {"publish": ("success", 1), "ready": ("failed", 1)}
    assert f"1 of {STORES + 1} TenantModels are Stalled" in ran.text
    assert f"user {taken}" in ran.text
    assert "UserIdConflict" in ran.text


def test_the_example_publishes_and_waits_until_every_store_is_ready(run: Callable[..., Ran]) -> None:
    ran = run(stores.dag, stores=STORES)
    assert ran.states == {"publish": ("success", 1), "ready": ("success", 1)}
    published = ran.returned("publish")
    assert len(published) == STORES
    assert all(each["model_id"].startswith(f"file://{HOME}/models/") for each in published)
    assert all(each.keys() == {"user_id", "namespace", "name", "model_id"} for each in published)
    assert len(json.dumps(published)) < 400 * STORES
    second = run(stores.dag, stores=2, last="2015-12-31")
    assert second.states["ready"] == ("success", 1)
    newer = {each["user_id"]: each["model_id"] for each in second.returned("publish")}
    assert len(newer) == 2
    assert not {each["model_id"] for each in published} & set(newer.values())
    in_force = {each["user_id"]: each["model_id"] for each in published} | newer
    (HOME / "in_force.json").write_text(json.dumps(in_force))  # the caller asks the servers for them


def test_a_timeout_names_who_waits_and_why(run: Callable[..., Ran]) -> None:
    """Also where the sensor gives its worker back between two pokes."""
    ran = run(airflow_dags.timeout)
    assert ran.states == {"ready": ("failed", 1)}
    assert "2 of 2 TenantModels are not Ready yet" in ran.text
    assert "shops/nobody: the operator has not read this TenantModel yet" in ran.text


def test_models_that_fail_are_reported_and_stop_no_other(run: Callable[..., Ran]) -> None:
    joblib.dump(Ridge().fit([[0.0], [1.0]], [1.0, 3.0]), HOME / "fine.joblib")
    (HOME / "broken.joblib").write_bytes(b"not a model")
    ran = run(airflow_dags.partly)
    assert ran.states == {"publish": ("failed", 1), "ready": ("upstream_failed", 0)}
    assert "2 models were not published, 1 were" in ran.text
    assert "item 1, user broken: " in ran.text
    assert "item 2, user no good: " in ran.text
    assert [path.name for path in (HOME / "partly").iterdir()] == ["fine.yaml"]


def test_nothing_to_publish_skips_what_follows(run: Callable[..., Ran]) -> None:
    ran = run(airflow_dags.nothing)
    assert {state for state, _ in ran.states.values()} == {"skipped"}


@pytest.mark.parametrize("name", ["cluster", "deferred"])
def test_a_cluster_is_applied_to_and_listed(
    run: Callable[..., Ran], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By server-side apply, and in pages; a second version, whose tenant is Stalled, fails at once."""
    monkeypatch.setattr(cluster, "_PAGE", 1)
    dag, namespace = getattr(airflow_dags, name), f"airflow-{name}"
    api = client.CustomObjectsApi(config.new_client_from_config(KUBECONFIG))  # type: ignore[no-untyped-call]
    joblib.dump(Ridge().fit([[0.0], [1.0]], [1.0, 3.0]), HOME / "fine.joblib")
    (HOME / "models.csv").write_text("user,file\nann,fine.joblib\nBob,fine.joblib\n")
    asked = {"kubeconfig": KUBECONFIG, "namespace": namespace}
    ran = run(dag, **asked)
    assert ran.states["publish"] == ("success", 1)
    assert ran.states["ready"] == ("success", 1)
    published = {each["user_id"]: each for each in ran.returned("publish")}
    assert {each["generation"] for each in published.values()} == {1}
    listed: Any = api.list_namespaced_custom_object("tenantry.dev", "v1alpha1", namespace, "tenantmodels")
    found = {item["spec"]["userId"]: item["spec"]["model"] for item in listed["items"]}
    assert {user: each["model_id"] for user, each in published.items()} == {
        user: f"{model['uri']}#sha256={model['sha256']}" for user, model in found.items()
    }
    again = run(dag, **asked, stalled="Bob")
    assert again.states["ready"] == ("failed", 1)
    assert "1 of 2 TenantModels are Stalled" in again.text
    assert "UserIdConflict: default/older has this userId" in again.text
    assert {each["generation"] for each in again.returned("publish")} == {2}


def test_a_cluster_that_refuses_is_quoted(run: Callable[..., Ran]) -> None:
    joblib.dump(Ridge().fit([[0.0], [1.0]], [1.0, 3.0]), HOME / "fine.joblib")
    (HOME / "models.csv").write_text("user,file\nann,fine.joblib\n")
    ran = run(airflow_dags.cluster, kubeconfig=KUBECONFIG, namespace="not-there")
    assert ran.states["publish"] == ("failed", 1)
    assert 'user ann: the API server said 404: namespaces "not-there" not found' in ran.text
