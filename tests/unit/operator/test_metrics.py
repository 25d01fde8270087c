"""What the operator counts of TenantModels."""

from prometheus_client.parser import text_string_to_metric_families

from tenantry.manifest.status import State, Status
from tenantry_operator.metrics import OperatorMetrics

READY = Status(State.READY, "Ready", "", 1)


def _stalled(reason: str) -> Status:
    return Status(State.STALLED, reason, "", 1)


def _counted(metrics: OperatorMetrics, name: str) -> dict[str, float]:
    """By the only label, what is not 0."""
    return {
        next(iter(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == f"tenantry_operator_{name}" and sample.value
    }


def test_a_tenant_is_counted_under_its_state_and_while_it_is_not_ready_its_reason() -> None:
    metrics = OperatorMetrics()
    metrics.moved(None, READY)
    metrics.moved(None, _stalled("ArtifactInvalid"))
    metrics.moved(None, _stalled("ModelCrashed"))
    assert _counted(metrics, "tenantmodels") == {"Ready": 1, "Stalled": 2}
    assert _counted(metrics, "unready") == {"ArtifactInvalid": 1, "ModelCrashed": 1}
    metrics.moved(_stalled("ModelCrashed"), _stalled("ModelTimedOut"))
    metrics.moved(_stalled("ArtifactInvalid"), READY)
    assert _counted(metrics, "tenantmodels") == {"Ready": 2, "Stalled": 1}
    assert _counted(metrics, "unready") == {"ModelTimedOut": 1}
    metrics.moved(_stalled("ModelTimedOut"), None)
    assert _counted(metrics, "unready") == {}


def test_reasons_that_servers_make_up_are_one_series() -> None:
    """They come from rows of the registry, and each series costs memory in Prometheus."""
    metrics = OperatorMetrics()
    made_up = [
        f"Reason{'abcdefghij'[n // 100]}{'abcdefghij'[n // 10 % 10]}{'abcdefghij'[n % 10]}"
        for n in range(300)
    ]
    for reason in [*made_up, 'x"} 1', "", "A" * 65]:
        metrics.moved(None, _stalled(reason))
    counted = _counted(metrics, "unready")
    assert len(counted) == 101
    assert counted["Other"] == 203
    for reason in [*made_up, 'x"} 1', "", "A" * 65]:
        metrics.moved(_stalled(reason), None)
    assert _counted(metrics, "unready") == {}
