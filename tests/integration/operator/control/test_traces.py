"""Traces of changes, by the operator's loop on a real registry, the servers' side played step by step."""

import pytest
from sqlalchemy import Engine

from tenantry.errors import RegistryUnavailable
from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Span
from tenantry_operator import tracing
from tenantry_operator.tracing import Changes
from tests.support.operator.rig import Flaky, Rig, Server

ROOT = "apply TenantModel"


@pytest.fixture
def ended(rig: Rig) -> list[Span]:
    """What has ended, of an operator that traces each change and writes statuses to the registry alone."""
    spans: list[Span] = []
    rig.changes = Changes(Sampler(1.0, follows=True, ended=spans.append))
    rig.restart()
    return spans


def taken(ended: list[Span]) -> tuple[Span, list[Span]]:
    """One whole trace, its root apart."""
    *steps, root = ended
    assert root.name == ROOT
    assert {step.parent_id for step in steps} <= {root.span_id}
    assert {span.trace_id for span in ended} == {root.trace_id}
    assert {span.attributes["tenantry.uid"] for span in ended} == {root.attributes["tenantry.uid"]}
    for step in steps:
        assert root.began_ns <= step.began_ns <= step.ended_ns <= root.ended_ns
    ended.clear()
    return root, steps


def test_a_change_is_one_trace_from_declared_to_ready(rig: Rig, ended: list[Span]) -> None:
    declared = rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.step()
    server.follow()
    rig.step()
    server.load()
    rig.step()
    assert ROOT not in [span.name for span in ended]  # the server has not acknowledged it
    server.follow()
    rig.step()
    assert rig.reason("ann") == "Ready"
    root, steps = taken(ended)
    assert {step.name for step in steps} == {"look up artifact", "commit", "wait for load", "wait for acks"}
    assert root.began_ns == declared.seen_ns
    assert root.parent_id == 0
    assert not any(span.failed for span in (root, *steps))
    model_id = root.attributes.pop("tenantry.model_id")
    assert str(rig.path) not in str(model_id)
    assert root.attributes == {
        "tenantry.uid": "uid-ann",
        "tenantry.namespace": "default",
        "tenantry.name": "ann",
        "tenantry.user_id": "ann",
        "tenantry.generation": 1,
        "tenantry.reason": "Ready",
        "tenantry.ended_by": "status",
    }


def test_what_is_known_already_is_no_change(rig: Rig, ended: list[Span]) -> None:
    """Else each restart would trace every tenant."""
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    ended.clear()
    rig.restart()
    rig.until_ready(server)
    assert ended == []
    rig.declare("ann", "2")
    rig.until_ready(server)
    root, _ = taken(ended)
    assert root.attributes["tenantry.generation"] == 2


def test_an_artifact_that_is_missing_is_an_error_of_its_lookup(rig: Rig, ended: list[Span]) -> None:
    """The trace ends with what the operator could say; another look at the store is not traced."""
    rig.manifest("ann", uri=f"file://{rig.path}/nowhere.joblib")
    rig.step()
    root, steps = taken(ended)
    (lookup,) = [step for step in steps if step.name == "look up artifact"]
    assert lookup.failed
    assert lookup.attributes["error.type"] == root.attributes["tenantry.reason"] == rig.reason("ann")
    assert "nowhere" not in str([span.attributes for span in (root, *steps)])


def test_a_stalled_one_is_an_error(rig: Rig, ended: list[Span]) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    ended.clear()
    rig.breaks("ann")
    rig.step()
    root, _ = taken(ended)
    assert root.failed
    assert root.attributes["error.type"] == root.attributes["tenantry.reason"] == "InvalidManifest"


def test_a_newer_change_and_a_deletion_end_a_trace(rig: Rig, ended: list[Span]) -> None:
    rig.declare("ann")
    rig.step()
    rig.declare("ann", "2")
    rig.step()
    root, steps = taken(ended[: [span.name for span in ended].index(ROOT) + 1])
    assert (root.attributes["tenantry.ended_by"], root.attributes["tenantry.reason"]) == (
        "change",
        "NoServer",
    )
    assert "wait for load" in {step.name for step in steps}
    rig.delete("ann")
    rig.step()
    assert ended[-1].attributes["tenantry.ended_by"] == "deletion"


def test_a_commit_that_fails_is_an_error_and_the_trace_goes_on(
    rig: Rig, ended: list[Span], engine: Engine
) -> None:
    flaky = Flaky(engine)
    rig.restart(flaky)
    Server(engine, "s1")
    rig.step()
    rig.declare("ann")
    flaky.fail_at = flaky.calls + 1
    with pytest.raises(RegistryUnavailable):
        rig.step()
    rig.step()
    commits = [span for span in ended if span.name == "commit"]
    assert [commit.failed for commit in commits] == [True, False]
    assert commits[0].attributes["error.type"] == "RegistryUnavailable"
    assert ROOT not in [span.name for span in ended]


def test_no_more_are_under_way_than_fit(
    rig: Rig, ended: list[Span], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_MOST_OPEN", 2)
    for name in ("ann", "bob", "eve"):
        rig.declare(name)
    rig.step()
    assert rig.changes is not None
    rig.changes.end_all()
    assert [span.attributes["tenantry.ended_by"] for span in ended if span.name == ROOT] == ["shutdown"] * 2
