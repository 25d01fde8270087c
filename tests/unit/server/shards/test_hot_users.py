"""Whom a server answered most is kept in the registry, and comes first after a restart."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import delete

from tenantry.placement import shard_of
from tenantry.registry import (
    schema,
)
from tenantry.registry.engine import writing
from tenantry_server.rows.json_payload import parse
from tenantry_server.shards import warm_loader
from tenantry_server.shards.hot_users import HotUsers
from tests.support.tenants.prewarming import (
    ME,
    Rig,
    row,
    users_of,
)
from tests.support.waiting import until_soon

# Who was answered last


async def test_whom_it_answered_last_is_kept_in_that_order(rig: Rig) -> None:
    """One model may answer for several users; of whom nobody uses, nobody needs to know."""
    names = ("ann", "bob", "cid", "dan", "eve", "fay", "gus")
    rig.assign(*(row(name) for name in names), row("bob-too", "bob/1024"))
    rig.read()
    for name in names:
        await rig.plane.models.load(f"{name}/1024")
    await rig.plane.models.load("nobody's/1")
    for name in ("bob", "ann"):
        rig.models.touch(f"{name}/1024")
    rig.hot._begun = True
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["ann", "bob", "bob-too", "gus", "fay"], 0)}


async def test_who_is_asked_for_most_often_comes_first_and_old_requests_count_less(rig: Rig) -> None:
    """A scan of everybody, each once, does not drive out those who are asked for all the time."""
    rig.assign(*(row(name) for name in ("ann", "bob", "cid")))
    rig.read()
    rig.hot._begun = True

    async def ask(name: str, times: int) -> None:
        for _ in range(times):
            await rig.plane.predict(name, parse(b'[{"x": 1.0}]'), timeout_s=10)

    await ask("ann", 8)
    await ask("bob", 2)
    await ask("cid", 1)
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: {"ann": 8, "bob": 2, "cid": 1}}
    assert await rig.hot.in_memory({shard_of("cid"), shard_of("ann")}) == ["ann", "cid"]
    for _ in range(5):  # nobody asks, so nothing is known better
        await rig.hot.remember()
    await ask("bob", 5)
    await rig.hot.remember()
    assert list(rig.registry.hot()[ME].items()) == [("bob", 6), ("ann", 4), ("cid", 0)]


async def test_counts_outlive_a_restart_and_a_new_version(rig: Rig) -> None:
    rig.registry.remember_hot({"ann": 40, "bob": 9})
    rig.assign(row("ann"), row("bob"))
    rig.hold_for("ann", "bob")
    await rig.first_round()
    rig.hot._begun = True
    await rig.hot.remember()  # told to stop again, before anybody asked
    assert rig.registry.hot() == {ME: {"ann": 40, "bob": 9}}
    rig.assign(replace(row("ann"), model_id="ann/2048"))
    rig.read()
    for _ in range(5):
        await rig.plane.predict("bob", parse(b'[{"x": 1.0}]'), timeout_s=10)
    await rig.plane.predict("ann", parse(b'[{"x": 1.0}]'), timeout_s=10)
    await rig.hot.remember()
    assert list(rig.registry.hot()[ME].items()) == [("ann", 21), ("bob", 9)]


async def test_what_stays_the_same_is_written_all_the_same(rig: Rig) -> None:
    """A row that nobody touches for a week is of a server that nobody asks, and is forgotten."""
    rig.assign(row("ann"))
    rig.read()
    rig.hot._begun = True
    for _ in range(3):
        await rig.plane.predict("ann", parse(b'[{"x": 1.0}]'), timeout_s=10)
        with writing(rig.engine) as connection:
            connection.execute(delete(schema.hot))
        await rig.hot.remember()
        assert rig.registry.hot() == {ME: {"ann": 1}}


async def test_a_store_that_is_away_for_a_moment_costs_no_model(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses at once; without a pause the whole list would have been tried in vain meanwhile."""
    monkeypatch.setattr(warm_loader, "_AGAIN_S", 0.001)
    rig.source.away = 3
    rig.assign(*(row(name) for name in ("ann", "bob")))
    rig.hold_for("ann", "bob")
    rig.registry.remember_hot({"ann": 1, "bob": 1})
    await rig.first_round()
    assert len(rig.models) == 2


@pytest.mark.usefixtures("one_at_a_time")
async def test_requests_at_all_servers_count_together(rig: Rig) -> None:
    names = ("ann", "bob", "cid")
    rig.assign(*map(row, names))
    rig.hold_for(*names)
    rig.registry.remember_hot({"ann": 5, "bob": 4, "cid": 1})
    rig.other.remember_hot({"bob": 3, "cid": 1})
    await rig.first_round()
    assert users_of(rig.source.asked) == ["bob", "ann", "cid"]


async def test_nothing_is_kept_before_it_has_prewarmed_or_while_nothing_was_loaded(rig: Rig) -> None:
    """What was hot before a restart must not be lost by another one soon after."""
    rig.assign(row("ann"), row("bob"))
    rig.registry.remember_hot(dict.fromkeys(["bob"], 0))
    rig.read()
    begun = asyncio.Event()
    task = asyncio.create_task(rig.hot.run(begun))
    await rig.plane.models.load("ann/1024")
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["bob"], 0)}
    begun.set()
    await until_soon(lambda: rig.hot._begun)
    rig.models.discard("ann/1024")
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["bob"], 0)}
    await rig.plane.models.load("ann/1024")
    await rig.hot.remember()
    assert rig.registry.hot() == {ME: dict.fromkeys(["ann"], 0)}
    task.cancel()


async def test_it_is_kept_every_now_and_then(rig: Rig) -> None:
    rig.hot = HotUsers(rig.registry, rig.table, rig.models, limit=5, every_s=0.01)
    rig.assign(row("ann"))
    rig.read()
    await rig.plane.models.load("ann/1024")
    begun = asyncio.Event()
    begun.set()
    task = asyncio.create_task(rig.hot.run(begun))
    await until_soon(rig.registry.hot)
    task.cancel()


async def test_none_are_kept_or_read_where_that_is_not_wanted(rig: Rig) -> None:
    rig.registry.remember_hot(dict.fromkeys(["bob"], 0))
    rig.hot = HotUsers(rig.registry, rig.table, rig.models, limit=0, every_s=0.01)
    rig.assign(row("ann"))
    rig.read()
    await rig.plane.models.load("ann/1024")
    begun = asyncio.Event()
    begun.set()
    await rig.hot.run(begun)
    await rig.hot.remember()
    assert await rig.hot.recall() == {}
    assert rig.registry.hot() == {ME: dict.fromkeys(["bob"], 0)}
