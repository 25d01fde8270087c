"""How long a server that was told to stop goes on answering."""

import asyncio

from tenantry_server.shards.drain import until_forgotten


async def test_a_stop_waits_until_nobody_is_sent_here() -> None:
    """Although no shard is left: nodes may not have seen yet that the pod ends."""
    waiting = asyncio.ensure_future(until_forgotten(3600.0))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    waiting.cancel()


async def test_nobody_waits_where_none_is_asked_for() -> None:
    await until_forgotten(0.0)


async def test_a_second_signal_ends_the_wait() -> None:
    hurry = asyncio.Event()
    waiting = asyncio.ensure_future(until_forgotten(3600.0, hurry.is_set))
    await asyncio.sleep(0)
    assert not waiting.done()
    hurry.set()
    await waiting
