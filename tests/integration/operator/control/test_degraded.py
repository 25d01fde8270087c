"""Ready that no longer holds, over a real registry: taken back, remembered, given again."""

from dataclasses import replace

import pytest

from tenantry.errors import ArtifactInvalid, ArtifactNotFound
from tenantry.registry import Fault, FaultBook, FaultState, schema
from tenantry_operator.fleet import view
from tests.support.operator.rig import Rig, Server, pass_time


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_FAULTS_EVERY_S", 0.0)


def fault(rig: Rig, name: str = "ann") -> Fault:
    model_id = str(rig.row(name).model_id)
    words = str(ArtifactNotFound(model_id))
    return Fault(name, "s1", model_id, ArtifactNotFound.reason, words, state=FaultState.RETRYING)


def test_ready_is_taken_back_and_given_again_with_one_write_each(rig: Rig) -> None:
    for name in ("ann", "bob"):
        rig.declare(name)
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    before = rig.rows(schema.claims)
    book = FaultBook(rig.engine)
    invalid = replace(fault(rig), reason=ArtifactInvalid.reason, state=FaultState.STALLED)
    book.write([invalid], [])
    rig.step()
    assert (rig.reason("ann"), rig.reason("bob")) == ("Degraded", "Ready")
    assert rig.gauge("degraded") == 1
    decided = rig.gauge("decisions_total")
    rig.step()
    assert rig.gauge("decisions_total") == decided
    book.write([], [invalid])
    rig.step()
    assert rig.reason("ann") == "Ready"
    assert rig.gauge("decisions_total") == decided + 1
    assert [row[:2] for row in rig.rows(schema.claims)] == [row[:2] for row in before]
    assert rig.gauge("degraded") == 0


def test_an_operator_that_restarts_remembers(rig: Rig) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    FaultBook(rig.engine).write([fault(rig)], [])
    rig.step()
    before = rig.everything()
    rig.restart()
    rig.step()
    rig.step()
    assert rig.everything() == before
    FaultBook(rig.engine).write([], [fault(rig)])
    rig.restart()
    rig.step()
    assert rig.reason("ann") == "Ready"


def test_another_version_under_the_same_name_is_rolled_out(rig: Rig) -> None:
    """A lost object often can't be brought back as the very same one."""
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    lost = fault(rig)
    FaultBook(rig.engine).write([lost], [])
    (rig.path / "ann.joblib").unlink()
    rig.step()
    pass_time(rig, 60)
    rig.step()
    assert rig.status("ann") == ("Degraded", lost.model_id)
    rig.publish("ann", "2")
    pass_time(rig, 60)
    rig.until_ready(server)
    assert rig.reason("ann") == "Ready"
    assert rig.row("ann").model_id != lost.model_id
