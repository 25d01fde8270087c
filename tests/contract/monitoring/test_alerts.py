"""Alerts: each speaks of series that exist, fires when it should, else is quiet, and says what to do."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.support.kubernetes.deploying.manifests import MANIFESTS, ROOT
from tests.support.monitoring import promtool
from tests.support.monitoring.series import Series, grouped_by, named_in, wrong_in

RULES = MANIFESTS / "components" / "monitoring" / "alerts.yaml"
DOCUMENT = yaml.safe_load(RULES.read_text())
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in DOCUMENT["spec"]["groups"] for rule in group["rules"]
}
ON = '{namespace="ml", instance="a"}'
OTHER = '{namespace="ml", instance="b"}'
GIB = 1 << 30


class Case(NamedTuple):
    """One alert twice: series by their name and labels, in promtool's notation, one value a minute.

    Attributes:
        fires: with these.
        quiet: with these, which are as near to the others as may be.
        labels: of the alert that fires, beside its name and severity.
        value: what its summary says of `{{ $value … }}`.
    """

    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    labels: Mapping[str, str]
    value: str = ""


ONE = {"namespace": "ml", "instance": "a"}
ALL = {"namespace": "ml"}
LEADS = {f"tenantry_operator_leading{ON}": "1+0x120"}


def _requests(code: str) -> str:
    return f'tenantry_requests_total{{namespace="ml", instance="a", code="{code}"}}'


def _slow(below: float) -> dict[str, str]:
    """A thousand requests a minute, of which 980 took at most this long."""
    name = 'tenantry_request_seconds_bucket{{namespace="ml", instance="a", le="{}"}}'
    return {
        name.format(below): "0+980x120",
        name.format(2 * below): "0+1000x120",
        name.format("+Inf"): "0+1000x120",
    }


CASES: dict[str, Case] = {
    "TenantryNoLeader": Case(
        {f"tenantry_operator_leading{ON}": "0+0x120", f"tenantry_operator_leading{OTHER}": "0+0x120"},
        {f"tenantry_operator_leading{ON}": "0+0x120", f"tenantry_operator_leading{OTHER}": "1+0x120"},
        ALL,
    ),
    "TenantryRegistryDown": Case(
        {**LEADS, f"tenantry_operator_registry_up{ON}": "0+0x120"},
        {f"tenantry_operator_leading{ON}": "0+0x120", f"tenantry_operator_registry_up{ON}": "0+0x120"},
        ONE,
    ),
    "TenantryNoServer": Case(
        {**LEADS, f"tenantry_operator_servers{ON}": "0+0x120"},
        {**LEADS, f"tenantry_operator_servers{ON}": "1+0x120"},
        ONE,
    ),
    "TenantryFleetNotReady": Case(
        {f"tenantry_ready{ON}": "0+0x120", f"tenantry_ready{OTHER}": "0+0x120"},
        {f"tenantry_ready{ON}": "0+0x120", f"tenantry_ready{OTHER}": "1+0x120"},
        ALL,
    ),
    "TenantryServerNotReady": Case(
        {f"tenantry_ready{ON}": "0+0x120", f"tenantry_ready{OTHER}": "1+0x120"},
        {f"tenantry_ready{ON}": "0+0x55 1+0x64"},
        ONE,
    ),
    "TenantryServerWithoutLease": Case(
        {f"tenantry_lease_held{ON}": "0+0x120"}, {f"tenantry_lease_held{ON}": "1+0x120"}, ONE
    ),
    "TenantryPeersDown": Case(
        {f"tenantry_peers_down{ON}": "2+0x120"}, {f"tenantry_peers_down{ON}": "0+0x120"}, ONE, "2"
    ),
    "TenantryFollowersBehind": Case(
        {f"tenantry_followers_behind_seconds{ON}": "2+0x120"},
        {f"tenantry_followers_behind_seconds{ON}": "0+0x60 3 0 0 3 0 0+0x54"},
        ONE,
        "2s",
    ),
    "TenantryManyUnready": Case(
        {
            'tenantry_operator_tenantmodels{namespace="ml", state="Ready"}': "930+0x120",
            'tenantry_operator_tenantmodels{namespace="ml", state="Stalled"}': "60+0x120",
            'tenantry_operator_tenantmodels{namespace="ml", state="Reconciling"}': "10+0x120",
        },
        {
            'tenantry_operator_tenantmodels{namespace="ml", state="Ready"}': "10+0x120",
            'tenantry_operator_tenantmodels{namespace="ml", state="Stalled"}': "5+0x120",
        },
        ALL,
        "70",
    ),
    "TenantryUnready": Case(
        {'tenantry_operator_unready{namespace="ml", reason="ArtifactInvalid"}': "3+0x120"},
        {'tenantry_operator_unready{namespace="ml", reason="Degraded"}': "3+0x120"},
        {"namespace": "ml", "reason": "ArtifactInvalid"},
        "3",
    ),
    "TenantryDegraded": Case(
        {f"tenantry_operator_degraded{ON}": "4+0x120"},
        {f"tenantry_operator_degraded{ON}": "0+0x120"},
        ONE,
        "4",
    ),
    "TenantryNotRemoved": Case(
        {f"tenantry_operator_not_removed{ON}": "90+0x120"},
        {f"tenantry_operator_not_removed{ON}": "0+0x120"},
        ONE,
        "90",
    ),
    "TenantryStatusNotWritten": Case(
        {'tenantry_operator_status_writes_total{namespace="ml", result="failed"}': "0+1x120"},
        {'tenantry_operator_status_writes_total{namespace="ml", result="conflict"}': "0+1x120"},
        {"namespace": "ml", "result": "failed"},
    ),
    "TenantryOperatorBehind": Case(
        {f"tenantry_operator_undecided{ON}": "5000+0x120"},
        {f"tenantry_operator_undecided{ON}": "5000 0 5000 0 5000 0 5000 0+0x113"},
        ONE,
        "5000",
    ),
    "TenantryErrors": Case(
        {_requests("200"): "0+960x120", _requests("500"): "0+30x120", _requests("503"): "0+10x120"},
        {_requests("200"): "0+900x120", _requests("404"): "0+95x120", _requests("500"): "0+5x120"},
        ALL,
        "4%",
    ),
    "TenantrySlow": Case(_slow(1.0), _slow(0.2), ALL, "1.5s"),
    "TenantryBusy": Case(
        {f"tenantry_busy_ratio{ON}": "0.98+0x120", f"tenantry_busy_ratio{OTHER}": "0.92+0x120"},
        {f"tenantry_busy_ratio{ON}": "1+0x120", f"tenantry_busy_ratio{OTHER}": "0.4+0x120"},
        ALL,
        "95%",
    ),
    "TenantryRefusals": Case(
        {_requests("200"): "0+900x120", _requests("429"): "0+100x120"},
        {_requests("200"): "0+990x120", _requests("429"): "0+10x120"},
        ALL,
        "10%",
    ),
    "TenantryWorkersEnd": Case(
        {'tenantry_workers_ended_total{namespace="ml", cause="overran"}': "0+1x120"},
        {'tenantry_workers_ended_total{namespace="ml", cause="recycled"}': "0+1x120"},
        {"namespace": "ml", "cause": "overran"},
    ),
    "TenantryHung": Case(
        {f"tenantry_hung_loads{ON}": "1+0x120", f"tenantry_hung_predictions{ON}": "0+0x120"},
        {f"tenantry_hung_loads{ON}": "0+0x120", f"tenantry_hung_predictions{ON}": "0+0x120"},
        ONE,
        "1",
    ),
    "TenantryCacheThrashes": Case(
        {
            _requests("200"): "0+1000x120",
            f"tenantry_cache_misses_total{ON}": "0+200x120",
            f"tenantry_cache_evictions_total{ON}": "0+100x120",
        },
        {  # a start: everything is cold, and nothing is given up
            _requests("200"): "0+1000x120",
            f"tenantry_cache_misses_total{ON}": "0+200x120",
            f"tenantry_cache_evictions_total{ON}": "0+0x120",
        },
        ALL,
        "20%",
    ),
    "TenantryCacheFull": Case(
        {f"tenantry_cache_bytes{ON}": "97+0x120", f"tenantry_cache_capacity_bytes{ON}": "100+0x120"},
        {
            f"tenantry_cache_bytes{ON}": "97+0x120",
            f"tenantry_cache_capacity_bytes{ON}": "100+0x120",
            f"tenantry_cache_bytes{OTHER}": "20+0x120",
            f"tenantry_cache_capacity_bytes{OTHER}": "100+0x120",
        },
        ALL,
        "97%",
    ),
    "TenantryMemoryLow": Case(
        {
            f"tenantry_memory_available_bytes{ON}": f"{GIB // 4}+0x120",
            f"process_resident_memory_bytes{ON}": f"{GIB}+0x120",
            f"tenantry_worker_resident_bytes{ON}": f"{15 * GIB // 4}+0x120",
        },
        {
            f"tenantry_memory_available_bytes{ON}": f"{GIB}+0x120",
            f"process_resident_memory_bytes{ON}": f"{GIB}+0x120",
            f"tenantry_worker_resident_bytes{ON}": f"{3 * GIB}+0x120",
        },
        ONE,
        "5%",
    ),
    "TenantryDiskCacheFails": Case(
        {f"tenantry_disk_failures_total{ON}": "0+1x120"},
        {f"tenantry_disk_failures_total{ON}": "7+0x120"},
        ONE,
    ),
    "TenantryCertificateEnds": Case(
        {f"tenantry_certificate_expires_seconds{ON}": f"{3 * 86400 + 80 * 60}+0x120"},
        {f"tenantry_certificate_expires_seconds{ON}": f"{30 * 86400}+0x120"},
        ONE,
        "3d 0h 0m 0s",
    ),
    "TenantryRestarts": Case(
        {
            f"tenantry_ready{ON}": "1+0x120",
            f"process_start_time_seconds{ON}": "1+0x70 2 2 3 3 4 4 5 5 6 6+0x40",
        },
        {  # somebody else's process
            f"tenantry_ready{OTHER}": "1+0x120",
            f"process_start_time_seconds{ON}": "1+0x70 2 2 3 3 4 4 5 5 6 6+0x40",
        },
        ONE,
        "5",
    ),
}
EVAL = "80m"


def test_every_alert_has_a_case() -> None:
    assert list(CASES) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_alerts_speak_of_series_that_exist(name: str, known: dict[str, Series]) -> None:
    expression = ALERTS[name]["expr"]
    assert list(named_in(expression)), "of no series of ours"
    assert wrong_in(expression, known) == []


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("tenantry_operator_led > 0", "tenantry_operator_led is not exported"),
        ('rate(tenantry_requests_total{reason="x"}[5m])', "tenantry_requests_total has no label reason"),
        ("sum by (user) (tenantry_ready)", "nothing has the label user"),
        ("tenantry_requests_total > 5", "tenantry_requests_total is a counter: rate()"),
        ("rate(tenantry_ready[5m])", "tenantry_ready is a gauge: rate()"),
    ],
)
def test_what_is_wrong_with_an_expression_is_found(
    expression: str, wrong: str, known: dict[str, Series]
) -> None:
    (found,) = wrong_in(expression, known)
    assert found.startswith(wrong)


@pytest.mark.parametrize("name", ALERTS)
def test_several_fleets_in_one_prometheus_are_told_apart(name: str) -> None:
    expression = ALERTS[name]["expr"]
    if re.search(r"\b(?:sum|max|min|avg|count)\b", expression):
        assert "namespace" in grouped_by(expression)


@pytest.mark.parametrize("name", ALERTS)
def test_each_says_what_to_do_and_where_more_is(name: str) -> None:
    annotations, labels = ALERTS[name]["annotations"], ALERTS[name]["labels"]
    assert set(annotations) == {"summary", "action", "runbook_url"}
    assert labels["severity"] in ("critical", "warning", "info")
    page, _, anchor = annotations["runbook_url"].partition("#")
    path = page.removeprefix("https://github.com/tenantry/tenantry/blob/main/")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_each_fires_once_and_is_quiet_once(tmp_path: Path, checked_by_prometheus: None) -> None:
    """By Prometheus' own engine, in one run."""
    files = [
        _written(tmp_path, name, _expected(name, case.fires, case), _expected(name, case.quiet, None))
        for name, case in CASES.items()
    ]
    assert promtool.test_rules(*files) == ""


def test_an_alert_that_does_not_fire_is_noticed(tmp_path: Path, checked_by_prometheus: None) -> None:
    case = CASES["TenantryDegraded"]
    file = _written(tmp_path, "TenantryDegraded", _expected("TenantryDegraded", case.quiet, case))
    assert "TenantryDegraded" in promtool.test_rules(file)


def _written(folder: Path, name: str, *tests: dict[str, Any]) -> Path:
    """Write tests of one alert, with its rule alone: promtool evaluates every rule that it is given."""
    rules, file = folder / f"{name}.rules.yaml", folder / f"{name}.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": name, "rules": [ALERTS[name]]}]}))
    document = {"rule_files": [rules.name], "evaluation_interval": "1m", "tests": list(tests)}
    file.write_text(yaml.safe_dump(document))
    return file


def _expected(name: str, series: Mapping[str, str], fires: Case | None) -> dict[str, Any]:
    alert = ALERTS[name]
    expected = []
    if fires is not None:
        annotations = dict(alert["annotations"])
        words = re.sub(r"\{\{ \$value[^}]*\}\}", fires.value, annotations["summary"])
        for label, value in fires.labels.items():
            words = words.replace(f"{{{{ $labels.{label} }}}}", value)
        expected = [
            {
                "exp_labels": {**fires.labels, "severity": alert["labels"]["severity"]},
                "exp_annotations": {**annotations, "summary": words},
            }
        ]
    return {
        "name": f"{name} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": each, "values": values} for each, values in series.items()],
        "alert_rule_test": [{"eval_time": EVAL, "alertname": name, "exp_alerts": expected}],
    }
