"""Every series that servers and operators export, by their own /metrics, and those that PromQL names."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from tenantry.manifest.status import State, Status
from tenantry.registry import open_engine
from tenantry.trust import tls
from tenantry.trust.certificates import Files
from tenantry_operator.metrics import OperatorMetrics
from tenantry_server.assembly import assemble
from tenantry_server.settings import ServerSettings
from tenantry_server.watchdog import Holds
from tests.support.databases.migrated import migrate
from tests.support.network.certificates import Authority

OF_TARGETS = frozenset({"namespace", "pod", "instance", "job"})
"""Labels that Prometheus itself puts on what it scrapes from a PodMonitor."""


class Series(NamedTuple):
    """What is exported under one name.

    Attributes:
        kind: of its family: counter, gauge or histogram.
        labels: names of its labels.
    """

    kind: str
    labels: frozenset[str]


class Named(NamedTuple):
    """A series as an expression names it.

    Attributes:
        name: of the series.
        labels: that its matchers look at.
    """

    name: str
    labels: frozenset[str]


def of_operator() -> dict[str, Series]:
    """Return the series of an operator, each of them with a value."""
    metrics = OperatorMetrics()
    metrics.moved(None, Status(State.STALLED, "ArtifactInvalid", "", 1))
    metrics.held({"server-0": 1}, {"server-0": 1})
    metrics.status_writes.labels("written")
    return _read(metrics.text().decode())


async def of_server(folder: Path) -> dict[str, Series]:
    """Return the series of a server that has everything: peers, workers, a disk cache and a certificate.

    Args:
        folder: an empty one.
    """
    authority = Authority()
    authority.issue().write(folder, authority)
    secured = tls.Tls(Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt"))
    engine = open_engine("sqlite://")
    migrate(engine)
    settings = ServerSettings(server_id="server-0", disk_cache_dir=folder / "disk", workers=1)
    parts = assemble(
        settings,
        engine,
        endpoint="http://127.0.0.1:1",
        tls=secured,
        stopping=lambda: False,
        holds=Holds(),
    )
    async with TestClient(TestServer(parts.app)) as client:
        await client.post("/predict/nobody", json=[{"a": 1}])
        await client.post("/predict", json={"rows": [{"user_id": "nobody", "a": 1}]})
        async with client.get("/metrics") as response:
            text = await response.text()
    if parts.disk is not None:
        parts.disk.close()
    engine.dispose()
    return _read(text)


def _read(text: str) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            before = found.get(sample.name, Series(family.type, frozenset()))
            found[sample.name] = Series(family.type, before.labels | set(sample.labels))
    return found


def named_in(expression: str) -> Iterator[Named]:
    """Iterate over the series that an expression of PromQL names.

    Example:
        >>> [each.name for each in named_in('rate(tenantry_requests_total{code="429"}[5m]) > time()')]
        ['tenantry_requests_total']
    """
    for found in re.finditer(r"\b((?:tenantry|process|python)_\w+)(?:\{([^}]*)\})?", expression):
        matchers = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", found[2] or "")
        yield Named(found[1], frozenset(matchers))


def grouped_by(expression: str) -> set[str]:
    """Return the labels that an expression groups or joins by."""
    lists = re.findall(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)", expression)
    return {name.strip() for each in lists for name in each.split(",") if name.strip()}


def wrong_in(expression: str, known: dict[str, Series]) -> list[str]:
    """Return what an expression says of series that do not exist, in words."""
    wrong: list[str] = []
    labels = OF_TARGETS | {"le"}
    for name, matched in named_in(expression):
        if name not in known:
            wrong.append(f"{name} is not exported")
            continue
        labels |= known[name].labels
        wrong += [f"{name} has no label {each}" for each in matched - known[name].labels - OF_TARGETS]
        counts = known[name].kind in ("counter", "histogram") and not name.endswith("_created")
        ranged = re.search(rf"(?:rate|increase|resets)\({name}(?:\{{[^}}]*\}})?\[", expression) is not None
        if counts != ranged:
            wrong.append(f"{name} is a {known[name].kind}: rate() and increase() are for counters alone")
    return wrong + [f"nothing has the label {each}" for each in grouped_by(expression) - labels]
