"""DAGs for what the example does not show: no model, some models, and a cluster."""

from typing import Any

from airflow.sdk import DAG, task

from tenantry_airflow.operators import PublishModelsOperator
from tenantry_airflow.sensors import TenantModelReadySensor

REGISTRY = "sqlite:///{{ params.home }}/state/registry.db"
GIVEN = {"home": "", "kubeconfig": "", "namespace": "", "stalled": ""}


with DAG("timeout", schedule=None, params=GIVEN) as timeout:
    TenantModelReadySensor(
        task_id="ready",
        tenant_models=["nobody", "shops/nobody"],
        registry_url=REGISTRY,
        poke_interval=0.1,
        timeout=0.2,
        mode="reschedule",
    )


with DAG("partly", schedule=None, params=GIVEN) as partly:
    items = [
        {"user_id": "fine", "model": "{{ params.home }}/fine.joblib"},
        {"user_id": "broken", "model": "{{ params.home }}/broken.joblib"},
        {"user_id": "no good", "model": "{{ params.home }}/fine.joblib"},
    ]
    some = PublishModelsOperator(
        task_id="publish", models=items, to="{{ params.home }}/models", manifests="{{ params.home }}/partly"
    )
    TenantModelReadySensor(task_id="ready", tenant_models=some.output, registry_url=REGISTRY)


with DAG("nothing", schedule=None, params=GIVEN) as nothing:
    none = PublishModelsOperator(
        task_id="publish",
        python_callable=list,
        to="{{ params.home }}/models",
        manifests="{{ params.home }}/none",
    )
    TenantModelReadySensor(task_id="ready", tenant_models=none.output, registry_url=REGISTRY)


@task  # type: ignore[untyped-decorator]
def decide(published: list[dict[str, Any]], kubeconfig: str, stalled: str) -> None:
    """Write the statuses that the operator would; no operator follows this API server."""
    from kubernetes import client, config  # noqa: PLC0415

    from tenantry.manifest import status  # noqa: PLC0415
    from tenantry.manifest.status import State, Status  # noqa: PLC0415

    api = client.CustomObjectsApi(config.new_client_from_config(kubeconfig))  # type: ignore[no-untyped-call]
    for each in published:
        bad = each["user_id"] == stalled
        said = Status(
            State.STALLED if bad else State.READY,
            "UserIdConflict" if bad else "Ready",
            "default/older has this userId" if bad else "all servers answer",
            each["generation"],
            None if bad else each["model_id"],
        )
        conditions = status.conditions(said, status.since(None, {}, said, 0.0))
        document = {
            "observedGeneration": each["generation"],
            "modelId": said.model_id,
            "conditions": conditions,
        }
        api.patch_namespaced_custom_object_status(
            "tenantry.dev",
            "v1alpha1",
            each["namespace"],
            "tenantmodels",
            each["name"],
            {"status": document},
            _content_type="application/merge-patch+json",
        )


def _cluster(name: str, **how: Any) -> DAG:
    """Return a DAG that applies a table of models to a cluster, and waits."""
    with DAG(name, schedule=None, params=GIVEN) as made:
        applied = PublishModelsOperator(
            task_id="publish",
            models="{{ params.home }}/models.csv",
            to="{{ params.home }}/models",
            apply=True,
            namespace="{{ params.namespace }}",
            config_file="{{ params.kubeconfig }}",
        )
        ready = TenantModelReadySensor(
            task_id="ready",
            tenant_models=applied.output,
            config_file="{{ params.kubeconfig }}",
            poke_interval=0.1,
            retries=3,
            **how,
        )
        decide(applied.output, "{{ params.kubeconfig }}", "{{ params.stalled }}") >> ready
    return made


cluster = _cluster("cluster")
deferred = _cluster("deferred", deferrable=True)
