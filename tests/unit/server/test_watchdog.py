"""What is said of an event loop that is held up."""

import asyncio
import os
import time

from structlog.testing import capture_logs

from tenantry_server import watchdog
from tests.support.waiting import PATIENCE_S


def _in_the_way() -> None:
    time.sleep(1.6)


async def test_a_loop_that_is_held_is_told_of_with_what_holds_it() -> None:
    with capture_logs() as said:
        watching = asyncio.create_task(watchdog.watch())
        await asyncio.sleep(0)
        async with asyncio.timeout(PATIENCE_S):
            while not said:  # where the machine stood still meanwhile, nobody had the interpreter
                _in_the_way()
                await asyncio.sleep(2 * watchdog._BEAT_S)
        watching.cancel()
        await asyncio.wait([watching])
    (line,) = said
    assert line["event"] == "the event loop was held"
    assert line["seconds"] >= 1.5
    assert "in _in_the_way" in line["stack"]


async def test_a_loop_that_goes_on_has_a_pulse_whether_anybody_feels_it_or_not() -> None:
    beats, pulse = os.pipe()
    os.set_blocking(beats, False)
    os.set_blocking(pulse, False)
    try:
        watching = asyncio.create_task(watchdog.watch(pulse))
        await asyncio.sleep(0)
        assert os.read(beats, 10) == b"."
        while True:  # until it is full
            try:
                os.write(pulse, b"." * 4096)
            except BlockingIOError:
                break
        done, _ = await asyncio.wait([watching], timeout=1.5 * watchdog._BEAT_S)
        assert not done
        watching.cancel()
        await asyncio.wait([watching])
    finally:
        os.close(beats)
        os.close(pulse)
