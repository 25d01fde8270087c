"""The operator's loop on a real registry, with the servers' side played step by step."""

import pytest
from sqlalchemy import update

from tenantry.placement import SHARDS
from tenantry.registry import (
    LoadState,
    schema,
)
from tenantry.registry.engine import writing
from tenantry.stores.file_roots import ANYWHERE
from tenantry_operator.artifacts.resolver import Resolver
from tests.support.operator.rig import Rig, Server, no_s3, source_of, sweep


def test_from_declared_to_ready(rig: Rig) -> None:
    rig.declare("ann")
    rig.step()
    assert rig.reason("ann") == "NoServer"
    one, two = Server(rig.engine, "s1"), Server(rig.engine, "s2")
    rig.step()
    one.follow()
    assert set(one.owners.values()) == {"s1", "s2"}
    assert len(one.owners) == SHARDS
    assert one.answer("ann") is None
    one.load()
    rig.step()
    assert rig.reason("ann") == "RollingOut"
    one.follow()
    rig.step()
    assert rig.reason("ann") == "RollingOut"
    two.follow()
    rig.step()
    assert rig.status("ann") == ("Ready", one.answer("ann"))
    assert one.answer("ann") == two.answer("ann") is not None
    assert rig.registry.reports() == []


def test_an_update_is_loaded_beside_the_model_that_answers(rig: Rig) -> None:
    rig.declare("ann", "1")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    first = server.answer("ann")
    rig.declare("ann", "2")
    rig.step()
    server.follow()
    assert server.answer("ann") == first
    assert rig.status("ann") == ("Loading", first)
    server.load()
    rig.step()
    server.follow()
    second = server.answer("ann")
    assert second not in (None, first)
    assert rig.reason("ann") == "RollingOut"
    rig.step()
    assert rig.status("ann") == ("Ready", second)


def test_a_wish_to_prewarm_alone_reaches_the_servers_and_is_one_decision(rig: Rig) -> None:
    """The model that answers stays, nothing is loaded, and nobody is waited for."""
    rig.declare("ann")
    one = Server(rig.engine, "s1")
    rig.until_ready(one)
    model_id = one.answer("ann")
    rig.declare("ann", prewarm=True)
    rig.step()
    (claim,) = rig.registry.claims()
    assert (claim.observed_generation, rig.status("ann")) == (2, ("Ready", model_id))
    one.follow()
    assert (one.rows["ann"].prewarm, one.answer("ann"), one.candidates()) == (True, model_id, [])
    settled = rig.everything()
    rig.step()
    assert rig.everything() == settled


def test_wishes_of_before_the_registry_knew_them_are_written_at_a_restart(rig: Rig) -> None:
    rig.declare("ann", prewarm=True)
    one = Server(rig.engine, "s1")
    rig.until_ready(one)
    claims = rig.registry.claims()
    with writing(rig.engine) as connection:
        connection.execute(update(schema.assignments).values(prewarm=False))
    rig.restart()
    rig.step()
    assert rig.row("ann").prewarm
    assert rig.registry.claims() == claims  # so no status is written


def test_a_candidate_that_fails_leaves_the_model_that_answers(rig: Rig) -> None:
    rig.declare("ann", "1")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    first = server.answer("ann")
    rig.declare("ann", "2")
    rig.step()
    server.follow()
    server.load(LoadState.RETRYING)
    rig.step()
    assert rig.status("ann") == ("ArtifactInvalid", first)
    server.load(LoadState.FAILED)
    rig.step()
    assert rig.status("ann") == ("ArtifactInvalid", first)
    claim = rig.registry.claims()[0]
    assert [c["type"] for c in claim.conditions] == ["Ready", "Stalled"]
    assert claim.conditions[0]["message"].endswith("keeps serving")
    assert b'tenantry_operator_unready{reason="ArtifactInvalid"} 1.0' in rig.metrics.text()
    server.follow()
    assert server.answer("ann") == first
    rig.declare("ann", "3")
    rig.until_ready(server)
    assert rig.reason("ann") == "Ready"
    assert b'tenantry_operator_unready{reason="ArtifactInvalid"} 0.0' in rig.metrics.text()


def test_a_deleted_tenant_leaves_a_tombstone_until_all_have_passed_it(rig: Rig) -> None:
    rig.declare("ann")
    rig.declare("bob")
    one, two = Server(rig.engine, "s1"), Server(rig.engine, "s2")
    rig.until_ready(one, two)
    rig.delete("ann")
    rig.step()
    assert rig.row("ann").deleted
    assert [claim.name for claim in rig.registry.claims()] == ["bob"]
    one.follow()
    assert one.answer("ann") is None
    assert sweep(rig) == 0  # the other may still answer
    two.follow()
    assert sweep(rig) == 1
    assert rig.registry.assignments(["ann"]) == {}
    assert two.answer("bob") is not None


def test_deleted_and_declared_again(rig: Rig) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    rig.delete("ann")
    rig.step()
    rig.declare("ann", created_at=200.0)
    rig.step()
    assert rig.row("ann").model_id is None
    rig.until_ready(server)
    assert rig.reason("ann") == "Ready"


def test_the_older_of_two_rivals_wins_and_the_other_is_promoted_when_it_goes(rig: Rig) -> None:
    rig.declare("young", "young", user="ann", created_at=200.0)
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    youngs = server.answer("ann")
    rig.declare("old", "old", user="ann", created_at=100.0)
    rig.step()
    assert rig.reason("young") == "UserIdConflict"
    rig.until_ready(server)
    olds = server.answer("ann")
    assert rig.status("old") == ("Ready", olds)
    assert rig.status("young") == ("UserIdConflict", None)
    rig.delete("old")
    rig.step()
    server.follow()
    assert server.answer("ann") is None  # what the old one left does not answer for the young one
    rig.until_ready(server)
    assert rig.status("young") == ("Ready", youngs)
    assert olds != youngs


def test_rivals_of_the_same_age_are_told_apart_by_uid(rig: Rig) -> None:
    rig.declare("b", user="ann")
    rig.declare("a", user="ann")
    rig.step()
    assert (rig.reason("a"), rig.reason("b")) == ("NoServer", "UserIdConflict")


@pytest.mark.parametrize("heir", ["invalid", "without an artifact"])
def test_a_deleted_model_stops_answering_even_where_its_heir_can_not_take_over(rig: Rig, heir: str) -> None:
    rig.declare("old", user="ann", created_at=100.0)
    rig.declare("young", user="ann", created_at=200.0)
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    assert server.answer("ann") is not None
    if heir == "invalid":
        rig.breaks("young")
    else:
        (rig.path / "young.joblib").unlink()
    rig.step()
    rig.delete("old")
    rig.step()
    server.follow()
    assert server.answer("ann") is None


def test_an_heir_looks_at_its_artifact_anew(rig: Rig) -> None:
    """It was overwritten while it stood behind the other one, perhaps for days."""
    rig.declare("old", user="ann", created_at=100.0)
    rig.declare("young", "1", user="ann", created_at=200.0)
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    rig.publish("young", "2")
    rig.delete("old")
    rig.step()
    expected = Resolver(no_s3, ANYWHERE)(source_of(rig, "young"))
    assert rig.row("ann").candidate_id == str(expected)
