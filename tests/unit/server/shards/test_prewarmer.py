"""What is loaded before anybody asks: for whom, in which order, how much, and for how long that counts."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tenantry.placement import SHARDS, owners, shard_of
from tests.support.tenants.prewarming import (
    KIB,
    ME,
    OTHER,
    Rig,
    pinned,
    row,
    users_of,
)
from tests.support.tenants.shards import held
from tests.support.waiting import until_soon

# For whom


async def test_pinned_tenants_of_own_shards_are_loaded_before_it_is_done(rig: Rig) -> None:
    rig.assign(pinned("ann"), row("bob"), pinned("cid"), pinned("dan", "dan/1"))
    rig.assign(replace(pinned("eve"), model_id=None, candidate_id="eve/1"))
    rig.hold_for("ann", "bob", "dan", "eve", other=("cid",))
    async with rig.running():
        await asyncio.sleep(0)
        assert not rig.prewarmer.done
        rig.read()
        await until_soon(lambda: rig.prewarmer.done)
    assert set(users_of(rig.source.asked)) == {"ann", "dan"}
    assert len(rig.models) == 2


async def test_what_was_answered_last_is_loaded_too(rig: Rig) -> None:
    """Of another server's list only what this one has taken over; its own may be asked for again."""
    rig.assign(*(row(user_id) for user_id in ("ann", "bob", "cid", "dan", "eve")))
    rig.hold_for("ann", "bob", "eve", other=("cid", "dan"))
    rig.registry.remember_hot(dict.fromkeys(["ann", "cid", "gone"], 0))
    rig.other.remember_hot(dict.fromkeys(["bob", "dan"], 0))
    await rig.first_round()
    assert set(users_of(rig.source.asked)) == {"ann", "bob", "cid"}


@pytest.mark.usefixtures("one_at_a_time")
async def test_the_most_important_come_first(rig: Rig) -> None:
    names = ["pin-cold", "pin-warm", "pin-hot", "hot-1", "hot-2", "hot-other", "else"]
    rig.assign(*(row(name, pinned=name.startswith("pin")) for name in names))
    rig.hold_for(*names[:5], other=("else",))
    rig.operator.assign_shards(held({shard_of("hot-other"): ME}))
    rig.registry.remember_hot(dict.fromkeys(["else", "hot-1", "pin-hot", "hot-2", "pin-warm"], 0))
    rig.other.remember_hot(dict.fromkeys(["hot-other"], 0))
    await rig.first_round()
    order = users_of(rig.source.asked)
    assert order == ["pin-hot", "pin-warm", "pin-cold", "hot-other", "hot-1", "hot-2", "else"]
    wanted = users_of(rig.models.most_wanted(9))
    for third in (slice(3), slice(3, 5), slice(5, None)):
        assert set(wanted[third]) == set(order[third])
    assert rig.models.counts.hits == 0  # nobody asked


async def test_a_server_without_a_shard_yet_loads_for_those_that_it_will_be_given(rig: Rig) -> None:
    """It gave them back when it was stopped; the operator counts it in a moment after it is back."""
    names = [f"user-{number}" for number in range(60)]
    rig.assign(*map(pinned, names))
    rig.operator.assign_shards(held(dict.fromkeys(range(SHARDS), OTHER)))
    soon = owners([ME, OTHER])
    mine = {name for name in names if soon[shard_of(name)] == ME}
    async with rig.running():
        rig.read()
        await until_soon(lambda: rig.prewarmer.done)
        assert set(users_of(rig.source.asked)) == mine
        rig.operator.assign_shards(held(soon))
        rig.read()
        await until_soon(lambda: not rig.prewarmer._due)
    assert len(rig.source.asked) == len(mine)


# How much, and how long


@pytest.mark.usefixtures("one_at_a_time")
async def test_a_tenth_of_the_memory_is_left(rig: Rig) -> None:
    sizes = {"ann": 30, "bob": 40, "cid": 30, "dan": 15, "eve": 10}
    rig.assign(*(replace(row(name, kib=kib), size_bytes=kib * KIB) for name, kib in sizes.items()))
    rig.hold_for(*sizes)
    rig.registry.remember_hot(dict.fromkeys(sizes, 0))
    with capture_logs() as logs:
        await rig.first_round()
    assert users_of(rig.source.asked) == ["ann", "bob", "dan"]
    assert [line["without_room"] for line in logs if "without_room" in line] == [2]
    assert rig.models.counts.evictions == 0


@pytest.mark.usefixtures("one_at_a_time")
async def test_where_sizes_are_not_known_it_stops_once_it_is_full(rig: Rig) -> None:
    names = [f"user-{number}" for number in range(10)]
    rig.assign(*(pinned(name, kib=30) for name in names))
    rig.hold_for(*names)
    await rig.first_round()
    assert len(rig.source.asked) in (3, 4)


async def test_it_is_done_after_a_while_in_any_case_and_goes_on(rig: Rig) -> None:
    rig.assign(pinned("slow-1"), pinned("slow-2"), pinned("slow-3"), pinned("slow-4"))
    rig.hold_for("slow-1", "slow-2", "slow-3", "slow-4")
    rig.prewarmer = rig.make_prewarmer(wait_s=0.01)
    with capture_logs() as logs:
        async with rig.running():
            rig.read()
            await until_soon(lambda: rig.prewarmer.done)
            assert len(rig.models) == 0
            rig.source.gate.set()
            await until_soon(rig.prewarmer.first_round_over.is_set)
    assert len(rig.models) == 4
    assert next(line["event"] for line in logs) == "ready before everything is prewarmed; that goes on"


async def test_a_few_at_a_time(rig: Rig) -> None:
    """A request for a cold model meanwhile finds a thread."""
    names = [f"slow-{number}" for number in range(9)]
    rig.assign(*map(pinned, names), row("ann"))
    rig.hold_for(*names, "ann")
    async with rig.running():
        rig.read()
        await until_soon(lambda: len(rig.source.asked) == 3)
        await rig.plane.models.load("ann/1")
        assert len(rig.source.asked) == 4
        rig.source.gate.set()
        await until_soon(lambda: rig.prewarmer.done)


async def test_failures_hold_up_nothing_and_are_told_of_once(rig: Rig) -> None:
    rig.assign(pinned("bad-1"), pinned("worse-2"), pinned("bad-3"), pinned("ann"))
    rig.hold_for("bad-1", "worse-2", "bad-3", "ann")
    with capture_logs() as logs:
        await rig.first_round()
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == [
        "prewarming failed",
        "not everything could be prewarmed",
    ]
    assert [line["failed"] for line in logs if "failed" in line] == [3]
    assert len(rig.models) == 1


async def test_without_the_list_of_hot_users_the_pinned_are_loaded(rig: Rig) -> None:
    rig.assign(pinned("ann"), row("bob"))
    rig.hold_for("ann", "bob")
    rig.registry.remember_hot(dict.fromkeys(["bob"], 0))
    rig.registry.reachable = False
    await rig.first_round()
    assert users_of(rig.source.asked) == ["ann"]


async def test_an_empty_registry_is_prewarmed_at_once(rig: Rig) -> None:
    with capture_logs() as logs:
        await rig.first_round()
    assert logs == []


async def test_a_shard_that_comes_brings_its_pinned_tenants(started: Rig) -> None:
    started.assign(pinned("ann"), row("bob"), pinned("cid"))
    started.read()
    started.hold_for("ann", "bob")
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
    assert users_of(started.source.asked) == ["ann"]


async def test_a_tenant_that_is_pinned_later_is_loaded(started: Rig) -> None:
    started.assign(row("ann"), row("bob"))
    started.hold_for("ann", "bob")
    started.read()
    started.assign(pinned("ann"))
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
    assert users_of(started.source.asked) == ["ann"]


async def test_who_is_pinned_no_more_is_not_loaded(started: Rig) -> None:
    started.assign(pinned("ann"), pinned("bob"), pinned("cid"))
    started.read()
    started.assign(row("ann"), replace(pinned("bob"), model_id=None, deleted=True))
    started.read()
    started.hold_for("ann", "bob", "cid")
    started.read()
    await until_soon(lambda: "cid/1024" in started.models)
    assert users_of(started.source.asked) == ["cid"]


async def test_reading_everything_anew_loads_nothing_twice(started: Rig) -> None:
    started.assign(pinned("ann"), pinned("bob"))
    started.hold_for("ann", "bob")
    started.read()
    await until_soon(lambda: len(started.models) == 2)
    started.assign(row("bob"))
    started.models.discard("bob/1024")
    started.read_everything()
    await until_soon(lambda: not started.prewarmer._due)
    started.hold_for(other=("ann", "bob"))
    started.read()
    started.hold_for("ann", "bob")
    started.read()
    await until_soon(lambda: not started.prewarmer._due)
    assert len(started.source.asked) == 2


async def test_a_failure_later_ends_nothing(started: Rig) -> None:
    started.hold_for("bad", "ann")
    started.assign(pinned("bad"))
    started.read()
    await until_soon(lambda: started.source.asked)
    started.assign(pinned("ann"))
    started.read()
    await until_soon(lambda: "ann/1024" in started.models)
