"""Loads that take too long: what is said meanwhile, and that they are possible again afterwards."""

import threading
from collections.abc import Iterator

import pytest

from tenantry.errors import ModelTimedOut
from tenantry_server.memory.model_cache import Resident
from tenantry_server.predicting.loads import Loads
from tenantry_server.toys import SumModel
from tests.support.waiting import until_soon


class Source:
    """Gives models at once, or once `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.loads = 0

    def __call__(self, _model_id: str) -> Resident:
        self.loads += 1
        self.go.wait()
        return Resident(SumModel(), 1)


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.go.set()


async def test_a_load_that_takes_too_long_is_not_begun_again_before_it_ended(source: Source) -> None:
    loads = Loads(source, timeout_s=0.02)
    with pytest.raises(ModelTimedOut, match=r"did not end within 0\.02 s \(in wait, "):
        await loads.load("file:///a")
    with pytest.raises(ModelTimedOut, match="an earlier load of it still goes on"):
        await loads.load("file:///a")
    assert (source.loads, loads.hung) == (1, 1)
    source.go.set()
    await until_soon(lambda: loads.hung == 0)
    assert isinstance((await loads.load("file:///a")).model, SumModel)
    loads.close()
