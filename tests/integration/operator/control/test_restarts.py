"""What a restart, a lost registry, or edits by hand leave of the operator's work."""

import threading

import pytest
from sqlalchemy import delete, update

from tenantry.errors import LeadershipLost, RegistryUnavailable
from tenantry.registry import (
    LoadState,
    OperatorRegistry,
    schema,
)
from tenantry.registry.engine import writing
from tenantry.stores.file_roots import ANYWHERE
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.control import removal
from tenantry_operator.declared import Listing
from tests.support.operator.rig import (
    Flaky,
    Rig,
    Server,
    no_s3,
    resync,
    source_of,
)


def test_a_restart_writes_nothing(rig: Rig) -> None:
    """Neither for what is ready, nor for what waits for a person, a server or an artifact."""
    server = Server(rig.engine, "s1")
    rig.declare("ready", refreshInterval="1h")
    rig.declare("rival", user="ready", created_at=200.0)
    rig.declare("deleted")
    rig.until_ready(server)
    rig.declare("failed")
    rig.declare("broken")
    rig.step()
    server.follow()
    server.say(
        *(server.word(r.user_id, str(r.candidate_id), LoadState.FAILED) for r in server.candidates())
    )
    rig.breaks("broken")
    rig.manifest("missing", uri=f"file://{rig.path}/nowhere")
    rig.delete("deleted")
    rig.step()
    server.follow()
    rig.declare("loading")
    rig.step()
    before = rig.everything()
    for _ in range(2):
        rig.restart()
        assert rig.everything() == before
        rig.step()
        rig.controller.step()
        assert rig.everything() == before
    server.follow()
    server.load()
    rig.until_ready(server)
    assert rig.reason("loading") == "Ready"


def test_a_restart_asks_the_artifact_store_nothing_about_what_is_ready(rig: Rig) -> None:
    """10,000 HEAD requests would hold up the first change after it."""
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    (rig.path / "ann.joblib").unlink()
    rig.resolve = no_s3
    rig.restart()
    rig.step()
    assert rig.reason("ann") == "Ready"


@pytest.mark.parametrize("at", ["declared", "reported", "acknowledged"])
def test_a_restart_in_the_middle_goes_on(rig: Rig, at: str) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.step()
    server.follow()
    if at != "declared":
        server.load()
    if at == "acknowledged":
        rig.step()
        server.follow()
    rig.restart()
    if at == "declared":
        rig.step()
        server.load()
    for _ in range(2):
        rig.step()
        server.follow()
    rig.step()
    assert rig.reason("ann") == "Ready"


def test_a_second_leader_ends_the_first(rig: Rig) -> None:
    rig.declare("ann")
    rig.step()
    first = rig.controller
    rig.restart()
    rig.declare("bob")
    before = rig.everything()
    with pytest.raises(LeadershipLost):
        first.step(rig.listing())
    assert rig.everything() == before
    rig.step()
    assert rig.reason("bob") == "NoServer"


@pytest.mark.parametrize("after", [False, True], ids=["before it wrote", "after it wrote"])
@pytest.mark.parametrize("fail_at", range(1, 13))
def test_a_registry_that_fails_once_loses_nothing(rig: Rig, fail_at: int, *, after: bool) -> None:
    """At whichever commit of a story with an update, rivals and a deletion."""
    flaky = Flaky(rig.engine)
    rig.restart(flaky)
    flaky.fail_at, flaky.after = fail_at, after
    server = Server(rig.engine, "s1")

    def go_on() -> None:
        for _ in range(5):
            try:
                rig.step()
            except RegistryUnavailable:
                continue
            server.follow()
            server.load()

    rig.declare("ann", "1")
    rig.declare("old", user="bob")
    rig.declare("young", user="bob", created_at=200.0)
    rig.declare("gone")
    go_on()
    rig.declare("ann", "2")
    rig.delete("old", "gone")
    go_on()
    go_on()
    server.follow()
    rig.step()
    assert flaky.calls >= 6
    assert {c.name: rig.reason(c.name) for c in rig.registry.claims()} == {
        "ann": "Ready",
        "young": "Ready",
    }
    assert server.answer("ann") == str(Resolver(no_s3, ANYWHERE)(source_of(rig, "ann")))
    assert server.answer("gone") is None
    assert rig.registry.reports() == []


def test_a_report_is_kept_until_its_answer_is_written(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not removed with the group of a rival, when the winner's own group fails."""
    monkeypatch.setattr(removal, "_GROUP", 1)
    for attempt in range(8):  # groups come in no particular order
        user = f"u{attempt}"
        rig.declare(f"old{attempt}", user=user)
        rig.declare(f"young{attempt}", user=user, created_at=200.0)
    server = Server(rig.engine, "s1")
    rig.step()
    server.follow()
    server.load()
    for attempt in range(8):
        rig.declare(f"young{attempt}", "2", user=f"u{attempt}", created_at=200.0)
    flaky = Flaky(rig.engine)
    rig.restart(flaky)
    for fail_at in range(1, 40, 3):
        flaky.fail_at = flaky.calls + fail_at
        try:
            rig.step()
        except RegistryUnavailable:
            rig.restart(flaky)
    rig.step()
    server.follow()
    rig.step()
    assert {rig.reason(f"old{attempt}") for attempt in range(8)} == {"Ready"}


def test_a_newer_listing_is_not_overtaken_by_one_that_had_to_wait(rig: Rig) -> None:
    """It would remove a tenant that is back by now."""
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    rig.delete("ann")
    without = rig.listing()
    rig.declare("ann")
    back = rig.listing()
    stop = threading.Event()
    loop = rig.controller
    step = loop.step
    taken: list[Listing | None] = []

    def once_lost(listing: Listing | None = None) -> None:
        taken.append(listing)
        if len(taken) == 1:
            loop.submit(back)  # while the registry does not answer
            raise RegistryUnavailable("just now")
        step(listing)
        stop.set()

    loop.step = once_lost  # type: ignore[method-assign]
    loop.submit(without)
    loop.run(stop)
    assert taken == [without, back]
    assert not rig.row("ann").deleted


def test_ready_waits_for_a_server_that_could_not_renew_its_lease_while_the_registry_was_away(
    rig: Rig,
) -> None:
    """It may not have noticed yet that the registry is back."""
    now_s = 100.0
    registry = OperatorRegistry(rig.engine, "operator", clock_s=lambda: now_s)
    rig.restart(registry)
    Server(rig.engine, "s1").follow()
    rig.step()
    loop, stop = rig.controller, threading.Event()
    step, steps = loop.step, 0

    def lost_at_first(listing: Listing | None = None) -> None:
        nonlocal now_s, steps
        steps += 1
        if steps == 1:
            now_s += 60
            raise RegistryUnavailable("just now")
        step(listing)
        stop.set()

    loop.step = lost_at_first  # type: ignore[method-assign]
    loop.run(stop)
    assert [server.live for server in registry.servers()] == [True]
    now_s += 60
    assert [server.live for server in registry.servers()] == [False]


def test_a_mass_deletion_is_refused_until_a_person_allows_it(rig: Rig) -> None:
    names = [f"t{n}" for n in range(60)]
    for name in names:
        rig.manifest(name, uri=f"file://{rig.path}/one.joblib")
    rig.publish("one", "1")
    rig.declare("other")
    rig.step()
    rig.delete(*names)
    before = rig.everything()
    rig.step()
    assert rig.everything() == before
    rig.declare("other", "2")
    rig.step()
    assert rig.row("other").generation == 2  # the rest goes on
    changed = rig.manifest("other", uri=f"file://{rig.path}/one.joblib")
    rig.controller.step(Listing({changed.uid: changed}))
    assert rig.gauge("not_removed") == 60, "one change says nothing about what is missing"
    assert rig.row("other").generation == 3
    rig.restart(allow_mass_delete=True)
    rig.step()
    assert [claim.name for claim in rig.registry.claims()] == ["other"]
    assert all(rig.row(name).deleted for name in names)


def test_rows_edited_by_hand_are_repaired(rig: Rig) -> None:
    rig.declare("ann")
    rig.declare("bob")
    rig.declare("cid")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    good = rig.everything()
    answers = {user: server.answer(user) for user in ("ann", "bob", "cid")}
    ours = schema.assignments.c
    with writing(rig.engine) as connection:
        connection.execute(
            update(schema.assignments).where(ours.user_id == "ann").values(model_id="file:///evil")
        )
        connection.execute(delete(schema.assignments).where(ours.user_id == "bob"))
        stranger = {"generation": 1, "model_id": "file:///evil", "revision": 0, "deleted": False}
        for user, uid in (("eve", "uid-eve"), ("mallory", "uid-ann")):
            connection.execute(schema.assignments.insert().values(user_id=user, uid=uid, **stranger))
        connection.execute(
            update(schema.claims).where(schema.claims.c.uid == "uid-cid").values(conditions=[{}])
        )
        connection.execute(delete(schema.claims).where(schema.claims.c.uid == "uid-bob"))
        connection.execute(update(schema.shard_map).values(server_id="nobody"))
    resync(rig)
    assert rig.row("eve").deleted
    assert rig.row("mallory").deleted
    assert rig.reason("cid") == "Ready"
    rig.until_ready(server)
    assert {user: server.answer(user) for user in ("ann", "bob", "cid", "eve")} == answers | {"eve": None}
    assert {rig.reason(name) for name in ("ann", "bob", "cid")} == {"Ready"}
    assert {row[1] for row in rig.rows(schema.shard_map)} == {"s1"}
    assert len(rig.rows(schema.claims)) == len(good["claims"])


def test_a_resync_of_what_is_right_writes_nothing(rig: Rig) -> None:
    rig.declare("ann")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    before = rig.everything()
    resync(rig)
    assert rig.everything() == before
