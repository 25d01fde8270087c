"""A store that can't be reached is asked once a second, by one load at a time; the others fail at once."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactNotFound, ArtifactUnavailable
from tenantry_server.circuit import CircuitBreaker
from tenantry_server.repositories import ArtifactRepository

ANN = ModelId("s3://models/ann.joblib")


def unreachable() -> bytes:
    raise ArtifactUnavailable(ANN.uri, "ConnectTimeoutError")


class Store(ArtifactRepository):
    """Answers as it is told, and counts."""

    def __init__(self) -> None:
        self.reads = 0
        self.answer: Callable[[], bytes] = lambda: b"bytes"

    def read(self, model_id: ModelId) -> bytes:  # noqa: ARG002 - the interface
        self.reads += 1
        return self.answer()


class Rig:
    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.store = Store()
        self.breaker = CircuitBreaker(self.store, clock_s=lambda: self.now_s)

    def reads(self) -> int:
        """How often the store is asked by one read, whatever comes of that."""
        before = self.store.reads
        with contextlib.suppress(ArtifactUnavailable, ArtifactNotFound):
            self.breaker.read(ANN)
        return self.store.reads - before


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_once_it_could_not_be_reached_nothing_is_tried_for_a_second(rig: Rig) -> None:
    rig.store.answer = unreachable
    assert rig.reads() == 1
    with pytest.raises(
        ArtifactUnavailable, match=r"models/ann.joblib did not answer: .*a moment ago"
    ) as told:
        rig.breaker.read(ANN)
    assert not told.value.reached
    rig.now_s += 0.9
    assert rig.reads() == 0
    rig.now_s += 0.2
    assert rig.reads() == 1
    assert rig.reads() == 0


def test_when_it_is_reached_again_everything_goes_on(rig: Rig) -> None:
    rig.store.answer = unreachable
    rig.reads()
    rig.now_s += 1.1
    rig.store.answer = lambda: b"again"
    assert [rig.breaker.read(ANN) for _ in range(3)] == [b"again"] * 3


@pytest.mark.parametrize(
    "error", [ArtifactNotFound(ANN.uri), ArtifactUnavailable(ANN.uri, "HTTP 503 SlowDown", reached=True)]
)
def test_a_store_that_says_no_was_reached(rig: Rig, error: Exception) -> None:
    def refuse() -> bytes:
        raise error

    rig.store.answer = refuse
    assert [rig.reads(), rig.reads()] == [1, 1]


def test_one_load_tries_again_and_the_others_do_not_wait_for_it(rig: Rig) -> None:
    rig.store.answer = unreachable
    rig.reads()
    rig.now_s += 1.1
    asked, answers = threading.Event(), threading.Event()

    def answer() -> bytes:
        asked.set()
        assert answers.wait(60)
        return b"late"

    rig.store.answer = answer
    with ThreadPoolExecutor(1) as pool:
        trial = pool.submit(rig.breaker.read, ANN)
        assert asked.wait(60)
        try:
            assert rig.reads() == 0
        finally:
            answers.set()
        assert trial.result() == b"late"
    assert rig.breaker.read(ANN) == b"late"
