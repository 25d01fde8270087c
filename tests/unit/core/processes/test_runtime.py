"""Waits that end when they are told to."""

import asyncio

import pytest

from tenantry.processes.runtime import set_within


async def test_an_event_that_is_set_in_time_is_told_from_one_that_is_not() -> None:
    event = asyncio.Event()
    assert not await set_within(event, 0.001)
    asyncio.get_running_loop().call_soon(event.set)
    assert await set_within(event, 60.0)


@pytest.mark.parametrize("turns", range(5))
async def test_a_cancellation_just_as_the_event_is_set_is_not_lost(turns: int) -> None:
    """However many turns of the loop lie between the two; else a server waits for this task forever."""
    event = asyncio.Event()

    async def follow() -> None:
        while True:
            await set_within(event, 60.0)
            event.clear()

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    following.cancel()
    done, _ = await asyncio.wait([following], timeout=30.0)
    try:
        assert done == {following}
    finally:
        following.cancel()
