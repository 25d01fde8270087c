"""Write the Grafana dashboard of a fleet, from the description in `panels`: `make charts` runs it.

Owns where panels lie and how Grafana's JSON looks. Their expressions are checked in
tests/contract/monitoring/test_dashboard.py: each speaks of series that exist, and Prometheus parses it.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.panels import ROWS, Graph

PLACE = Path(__file__).parents[1] / "manifests" / "components" / "monitoring" / "dashboard.json"
_COLUMNS = 24
_HEIGHT, _STAT_HEIGHT, _WIDTH, _STAT_WIDTH = 8, 4, 8, 4
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "uid": "tenantry-fleet",
        "title": "Tenantry",
        "tags": ["tenantry"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    query = "label_values(tenantry_operator_leading, namespace)"
    yield {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": "namespaces"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",  # also where nothing has the label
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number = top = 0
    for row, graphs in ROWS.items():
        number += 1
        yield {"id": number, "type": "row", "title": row, "panels": [], "gridPos": _at(0, top, _COLUMNS, 1)}
        top, left = top + 1, 0
        for graph in graphs:
            width, height = (_STAT_WIDTH, _STAT_HEIGHT) if graph.stat else (_WIDTH, _HEIGHT)
            if left + width > _COLUMNS:
                left, top = 0, top + height
            number += 1
            yield {"id": number, "gridPos": _at(left, top, width, height), **_panel(graph)}
            left += width
        top += height


def _at(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(graph: Graph) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": graph.unit, "min": 0}
    if not graph.stat:
        stacking = {"mode": "normal" if graph.stacked else "none"}
        defaults["custom"] = {"fillOpacity": 30 if graph.stacked else 0, "stacking": stacking}
    options: dict[str, Any] = (
        {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "none"}
        if graph.stat
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    )
    return {
        "type": "stat" if graph.stat else "timeseries",
        "title": graph.title,
        "description": graph.words,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": expression.replace("%s", 'namespace=~"$namespace"'),
                "legendFormat": legend or "__auto",
            }
            for index, (legend, expression) in enumerate(graph.queries.items())
        ],
    }


def text() -> str:
    """Return the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PLACE.write_text(text())
    sys.stdout.write(f"{PLACE}\n")
