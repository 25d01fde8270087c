"""The Grafana dashboard: generated, of series that exist, in expressions that Prometheus parses."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import dashboard

from tests.support.kubernetes.deploying.manifests import BASE, MANIFESTS, ROOT, composed, the
from tests.support.monitoring import promtool
from tests.support.monitoring.series import Series, named_in, wrong_in

DASHBOARD: dict[str, Any] = json.loads(dashboard.PLACE.read_text())
EXPRESSIONS = {
    f"{panel['title']}: {target['legendFormat']}": target["expr"]
    .replace("$namespace", ".*")
    .replace("$__rate_interval", "5m")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
}


def test_it_is_what_the_tool_writes() -> None:
    assert dashboard.PLACE.read_text() == dashboard.text(), "run `make charts`"
    assert (ROOT / "charts/tenantry/files/dashboard.json").read_text() == dashboard.text()


@pytest.mark.parametrize("title", EXPRESSIONS)
def test_each_panel_shows_series_that_exist(title: str, known: dict[str, Series]) -> None:
    assert list(named_in(EXPRESSIONS[title]))
    assert wrong_in(EXPRESSIONS[title], known) == []


def test_prometheus_parses_every_expression(tmp_path: Path, checked_by_prometheus: None) -> None:
    rules = tmp_path / "rules.yaml"

    def refused(expressions: list[str]) -> str:
        named = [{"record": f"panel:{n}", "expr": each} for n, each in enumerate(expressions)]
        rules.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": named}]}))
        return promtool.check_rules(rules)

    assert refused(list(EXPRESSIONS.values())) == ""
    assert "parse error" in refused(["sum(tenantry_ready{"])


def test_every_series_of_ours_is_on_it(known: dict[str, Series]) -> None:
    shown = {each.name for expression in EXPRESSIONS.values() for each in named_in(expression)}
    ours = {name for name in known if name.startswith("tenantry_")}
    unshown = {name for name in ours - shown if not name.endswith(("_created", "_sum", "_count"))}
    assert unshown == set()


def test_panels_have_numbers_of_their_own_and_do_not_lie_on_each_other() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_grafanas_sidecar_finds_it(tmp_path: Path) -> None:
    """It looks for ConfigMaps with this label (kiwigrid/k8s-sidecar, Grafana's chart)."""
    documents = composed(tmp_path, BASE, MANIFESTS / "components" / "monitoring")
    found = the(documents, "ConfigMap", "tenantry-dashboard")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(found["data"]["tenantry.json"]) == DASHBOARD
