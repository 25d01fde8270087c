"""Servers that come, go and report, and what one pass costs."""

from collections.abc import Sequence
from typing import Any

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactNotFound, RegistryUnavailable
from tenantry.manifest.spec import ModelSource
from tenantry.registry import (
    LoadState,
    OperatorRegistry,
    Writes,
    schema,
)
from tenantry_operator.fleet import busy_users
from tests.support.operator.rig import Flaky, Rig, Server, statements


def test_a_rollout_that_waits_for_a_server_is_complete_when_that_is_gone(rig: Rig) -> None:
    rig.declare("ann")
    one, two = Server(rig.engine, "s1"), Server(rig.engine, "s2")
    rig.step()
    one.follow()
    one.load()
    rig.step()
    one.follow()
    rig.step()
    assert rig.reason("ann") == "RollingOut"
    two.leave()
    rig.step()  # the shards change hands, under a revision that this row does not wait for
    assert rig.reason("ann") == "Ready"


def test_when_the_last_server_goes_those_that_wait_say_so(rig: Rig) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.step()
    assert rig.reason("ann") == "Loading"
    server.leave()
    rig.step()
    assert rig.reason("ann") == "NoServer"


def test_reports_that_nobody_waits_for_are_removed(rig: Rig) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    before = rig.everything()
    server.say(
        server.word("ann", str(server.answer("ann"))),
        server.word("ann", "file:///older", LoadState.FAILED),
        server.word("nobody", "file:///x"),
    )
    for _ in range(3):
        rig.step()
    assert rig.everything() == before


def test_a_manifest_that_breaks_while_its_model_loads_is_asked_for_again(rig: Rig) -> None:
    """The server's word comes while nobody can use it, and it gives none twice for one row."""
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.step()
    server.follow()
    rig.breaks("ann")
    rig.step()
    server.load()
    rig.step()
    assert rig.reason("ann") == "InvalidManifest"
    assert rig.registry.reports() == []
    server.follow()
    assert server.candidates() == []
    rig.declare("ann")
    rig.step()
    server.follow()
    assert [row.user_id for row in server.candidates()] == ["ann"]
    rig.until_ready(server)
    assert rig.reason("ann") == "Ready"


def test_a_tenant_may_change_its_mind_about_its_user_before_it_is_written(rig: Rig) -> None:
    """It must not stand in line for the first one forever."""
    flaky = Flaky(rig.engine)
    rig.restart(flaky)
    flaky.fail_at = 1
    rig.declare("ann", user="one", created_at=100.0)
    with pytest.raises(RegistryUnavailable):
        rig.step()
    rig.manifest("ann", uri=f"file://{rig.path}/ann.joblib", user="two", created_at=100.0)
    rig.declare("bob", user="one", created_at=200.0)
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    assert (rig.reason("ann"), rig.reason("bob")) == ("Ready", "Ready")
    rig.delete("ann")
    rig.step()
    rig.delete("bob")
    rig.step()
    assert rig.registry.claims() == []


def test_a_step_with_nothing_to_do_costs_two_selects(rig: Rig) -> None:
    for n in range(50):
        rig.manifest(f"t{n}", uri=rig.publish("one", "1"))
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    listing = rig.listing()
    rig.controller.step(listing)
    seen = statements(rig.engine)
    rig.controller.step(listing)
    rig.controller.step()
    usual = [s for s in seen if not s.startswith(("BEGIN", "PRAGMA")) and "faults" not in s]
    usual = [s for s in usual if "releases" not in s]
    assert len(usual) == 4
    for table in ("faults", "releases"):
        assert len([s for s in seen if table in s]) <= 2, "once a second"
    assert all("servers" in s or "loads" in s for s in usual if s.startswith("SELECT"))


def test_many_are_written_in_groups(rig: Rig) -> None:
    """Short locks, and few of them: 450 tenants take three commits."""
    commits: list[Sequence[Any]] = []

    class Counting(OperatorRegistry):
        def commit(self, writes: Writes) -> dict[str, int]:
            commits.append(writes.claims)
            return super().commit(writes)

    rig.restart(Counting(rig.engine, "counting"))
    uri = rig.publish("one", "1")
    for n in range(450):
        rig.manifest(f"t{n}", uri=uri)
    rig.resolve = lambda source: source.pinned(sha256="0" * 64)
    rig.step()
    assert sum(len(claims) for claims in commits) == 450
    assert max(len(claims) for claims in commits) <= 200
    rig.delete(*(f"t{n}" for n in range(50)))
    rig.step()
    assert len(rig.rows(schema.claims)) == 400


def test_an_artifact_that_is_refused_is_quoted(rig: Rig) -> None:
    def missing(source: ModelSource) -> ModelId:
        raise ArtifactNotFound(source.uri)

    rig.resolve = missing
    rig.declare("ann")
    rig.step()
    assert "publish it there, or correct spec.model.uri" in str(rig.registry.claims()[0].conditions)


def test_to_scale_servers_writes_to_no_tenant(rig: Rig) -> None:
    """Nor is any status written again: ten thousand tenants would be ten thousand writes."""
    for name in ("ann", "bob", "cid"):
        rig.declare(name)
    one, two = Server(rig.engine, "s1"), Server(rig.engine, "s2")
    rig.until_ready(one, two)
    before, decided = rig.everything(), rig.gauge("decisions_total")
    rig.restart(rebalance_after_s=0)
    rig.step()
    three = Server(rig.engine, "s3")
    rig.step()
    assert {row[3] for row in rig.rows(schema.shard_map)} == {None, "s3"}
    two.leave()
    rig.step()
    three.leave()
    rig.step()
    after = rig.everything()
    assert {name: after[name] for name in ("claims", "assignments")} == {
        name: before[name] for name in ("claims", "assignments")
    }
    assert {row[1] for row in rig.rows(schema.shard_map)} == {"s1"}
    assert rig.gauge("decisions_total") <= decided + 3


def test_a_user_who_keeps_a_server_busy_goes_to_several(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy_users, "_CHECK_EVERY_S", 0.0)
    servers = [Server(rig.engine, f"s{n}") for n in range(3)]
    servers[0].busy(ann=0.5, bob=0.1)
    rig.step()
    rig.step()
    assert rig.registry.spread() == {"ann": 2}
    assert rig.gauge("spread_users") == 1
    rig.restart()
    assert rig.registry.spread() == {"ann": 2}
    monkeypatch.setattr(busy_users, "_DOWN_AFTER_S", 0.0)
    servers[0].busy()
    rig.step()
    assert rig.registry.spread() == {"ann": 1}
    for server in servers:
        server.follow()
    rig.registry.sweep(forget_servers_s=600.0)
    assert rig.registry.spread() == {}
