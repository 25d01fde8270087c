"""An operator as a process that sends its traces to a collector, by OTLP over HTTP."""

import os
from pathlib import Path

from tenantry.registry import OperatorRegistry, open_engine
from tests.support.databases.migrated import migrate
from tests.support.network import collector
from tests.support.processes.child_process import Child
from tests.support.processes.launching import TENANTRY
from tests.support.tenants.manifest_folder import manifest
from tests.support.waiting import until


def test_traces_of_an_operator_reach_a_collector(tmp_path: Path) -> None:
    """Whatever is under way when it stops, too; all are found by the uid that the registry shows."""
    folder = tmp_path / "tenants"
    folder.mkdir()
    engine = open_engine(f"sqlite:///{tmp_path}/registry.db")
    migrate(engine)
    registry = OperatorRegistry(engine, "test")
    artifact = folder / "ann.joblib"
    artifact.write_bytes(b"a model")
    (folder / "ann.yaml").write_text(manifest("ann", uri=artifact.as_uri()))
    (folder / "bob.yaml").write_text(manifest("bob", uri=f"{folder.as_uri()}/gone.joblib"))
    with collector.running() as collected:
        env = {
            **os.environ,
            "TENANTRY_TRACES": "otlp",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collected.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "60",
        }
        child = Child(
            [*TENANTRY, "operator", str(folder), "--registry", f"sqlite:///{tmp_path}/registry.db"],
            log=tmp_path / "operator.log",
            env=env,
        )
        try:
            until(lambda: len(registry.claims()) == 2, "both are decided")
            uids = {claim.name: claim.uid for claim in registry.claims()}
            until(lambda: _roots(collected, uids["bob"]), "the trace of one that is decided")
        finally:
            child.stop(grace_s=180)
        (ann,), (bob,) = (_roots(collected, uids[name]) for name in ("ann", "bob"))
        steps = [span.name for span in collected.spans(ann.trace_id) if span is not ann]
    engine.dispose()
    assert bob.attributes["tenantry.reason"] == "ArtifactNotFound"
    assert ann.attributes["tenantry.reason"] == "NoServer"
    assert ann.attributes["tenantry.ended_by"] == "shutdown"
    assert {"look up artifact", "commit", "wait for load"} <= set(steps)
    assert ann.resource["service.name"] == "tenantry-operator"
    assert ann.resource["service.instance.id"]
    assert ann.kind == "INTERNAL"


def _roots(collected: collector.Collector, uid: str) -> list[collector.Seen]:
    return [span for span in collected.about("tenantry.uid", uid) if not span.parent_id]
