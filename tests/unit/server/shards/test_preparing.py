"""Shards that are handed over, and users on several servers."""

import asyncio
from dataclasses import replace

from tenantry.placement import SHARDS, rendezvous, shard_of
from tenantry.registry import (
    Holding,
    ServerRegistry,
    ServerReport,
)
from tests.support.tenants.prewarming import (
    KIB,
    ME,
    Rig,
    arriving,
    pinned,
    row,
    users_of,
)
from tests.support.waiting import until_soon


async def test_what_is_warm_elsewhere_is_loaded_before_the_shard_is_called_prepared(started: Rig) -> None:
    started.assign(row("slow-ann"), row("bob"), pinned("cid"), row("dan"))
    started.warm = ["slow-ann", "dan"]
    told: list[int] = []
    started.prewarmer.prepared = lambda: told.append(started.prewarmer.prepared_revision)
    revision = arriving(started, "slow-ann", "bob", "cid")
    await until_soon(lambda: "cid/1024" in started.models and "slow-ann/1024" in started.source.asked)
    assert started.prewarmer.prepared_revision < revision
    started.source.gate.set()
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    assert told == [started.prewarmer.prepared_revision], "who reports it need not look for it"
    assert set(users_of(started.source.asked)) == {"slow-ann", "cid"}


async def test_shards_that_come_later_are_prepared_by_themselves(started: Rig) -> None:
    started.assign(row("ann"), row("bob"))
    started.warm = ["ann", "bob"]
    first = arriving(started, "ann")
    await until_soon(lambda: started.prewarmer.prepared_revision >= first)
    assert users_of(started.source.asked) == ["ann"]
    second = arriving(started, "bob")
    await until_soon(lambda: started.prewarmer.prepared_revision >= second)
    assert users_of(started.source.asked) == ["ann", "bob"]


async def test_a_model_that_does_not_load_holds_up_no_hand_over(started: Rig) -> None:
    started.assign(row("bad"), row("ann"))
    started.warm = ["bad", "ann"]
    revision = arriving(started, "bad", "ann")
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    assert users_of(started.models.most_wanted(9)) == ["ann"]


async def test_shards_that_come_take_their_part_of_the_memory_and_no_more(started: Rig) -> None:
    """What is hot on shards that are held already must not make room for more than that."""
    held_already = {shard: Holding(ME) for shard in range(SHARDS) if shard != shard_of("ann")}
    started.operator.assign_shards(held_already)
    started.assign(replace(row("ann", kib=30), size_bytes=30 * KIB))
    started.read()
    started.warm = ["ann"]
    revision = arriving(started, "ann")
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    assert started.source.asked == []


async def test_of_a_server_that_died_what_it_answered_last_is_loaded(started: Rig) -> None:
    """Nobody is left to ask, and nobody waits for it."""
    started.assign(row("ann"), row("bob"), row("cid"))
    started.other.remember_hot(dict.fromkeys(["ann", "cid"], 0))
    started.hold_for("ann", "bob")
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
    assert users_of(started.source.asked) == ["ann"]


async def test_a_shard_that_was_prepared_is_not_warmed_twice(started: Rig) -> None:
    started.assign(row("ann"), row("bob"))
    started.warm = ["ann"]
    started.other.remember_hot(dict.fromkeys(["bob"], 0))
    revision = arriving(started, "ann", "bob")
    await until_soon(lambda: started.prewarmer.prepared_revision >= revision)
    started.hold_for("ann", "bob")
    started.read()
    await asyncio.sleep(0)
    assert not started.prewarmer._orphans
    assert users_of(started.source.asked) == ["ann"]


# Users on several servers


async def test_a_user_on_several_servers_is_loaded_by_each_of_them(started: Rig) -> None:
    """By what was declared or measured; not by those that are none of them."""
    started.assign(replace(row("ann"), replicas=2), row("bob"), row("cid"))
    started.operator.set_spread({"bob": 2, "cid": 1})
    started.read()
    await until_soon(lambda: len(started.models) == 2)
    assert set(users_of(started.source.asked)) == {"ann", "bob"}


async def test_a_server_that_becomes_one_of_several_loads_then(started: Rig) -> None:
    """Another one was, and went."""
    best = "server-9"
    name = next(n for n in map("u-{}".format, range(99)) if rendezvous(shard_of(n), [ME, best])[0] == best)
    started.other.renew(lease_s=60, acked_revision=0, report=ServerReport())
    third = ServerRegistry(started.engine, best, endpoint="http://third", capacity_bytes=1)
    third.renew(lease_s=60, acked_revision=0, report=ServerReport())
    started.peers.update(started.registry.servers())
    started.assign(replace(row(name), replicas=2))
    started.read()
    await asyncio.sleep(0.05)
    assert started.source.asked == []
    third.release()
    assert started.peers.update(started.registry.servers())
    started.prewarmer.servers_changed()
    await until_soon(lambda: users_of(started.source.asked) == [name])
