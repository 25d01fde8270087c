"""A bucket that is out of reach is tried once a second, in the background; meanwhile reads fail at once."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactNotFound, ArtifactUnavailable
from tenantry_server.artifacts.circuit_breaker import CircuitBreaker
from tenantry_server.artifacts.repositories import ArtifactRepository
from tests.support.waiting import until

ANN, BOB = ModelId("s3://models/ann.joblib"), ModelId("s3://others/bob.joblib")


def unreachable() -> bytes:
    raise ArtifactUnavailable(ANN.uri, "ConnectTimeoutError")


class Store(ArtifactRepository):
    """Answers as it is told, for ANN; and counts."""

    def __init__(self) -> None:
        self.reads: Counter[str] = Counter()
        self.answer: Callable[[], bytes] = lambda: b"bytes"

    def read(self, model_id: ModelId) -> bytes:
        self.reads[model_id.uri] += 1
        return self.answer() if model_id == ANN else b"bob"


class Rig:
    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.store = Store()
        self.breaker = CircuitBreaker(self.store, clock_s=lambda: self.now_s)

    def read(self) -> bytes | None:
        """None: it failed."""
        with contextlib.suppress(ArtifactUnavailable, ArtifactNotFound):
            return self.breaker.read(ANN)
        return None

    @property
    def reads(self) -> int:
        """How often the store was asked for ann's."""
        return self.store.reads[ANN.uri]

    def open(self) -> None:
        """Ann's bucket could not be reached a second ago."""
        self.store.answer = unreachable
        self.read()
        self.now_s += 1.1


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_once_it_could_not_be_reached_nothing_is_tried_for_a_second(rig: Rig) -> None:
    rig.store.answer = unreachable
    with pytest.raises(ArtifactUnavailable, match="ConnectTimeoutError") as failed:
        rig.breaker.read(ANN)
    assert failed.value.tried
    rig.now_s += 0.9
    with pytest.raises(ArtifactUnavailable, match=r"ann.joblib did not answer: .*a moment ago") as told:
        rig.breaker.read(ANN)
    assert (told.value.reached, told.value.tried, told.value.retry_after_s) == (False, False, 1.0)
    assert rig.reads == 1


def test_when_it_is_reached_again_everything_goes_on(rig: Rig) -> None:
    """The request that finds that out does not wait for it."""
    rig.open()
    rig.store.answer = lambda: b"again"
    assert rig.read() is None
    until(lambda: rig.read() == b"again", "it is reached again")


def test_while_it_is_away_it_is_tried_once_a_second(rig: Rig) -> None:
    rig.open()
    for tried in range(2, 5):
        assert [rig.read() for _ in range(5)] == [None] * 5
        until(lambda tried=tried: rig.reads == tried and not _trials(), "one trial")  # type: ignore[misc]
        rig.now_s += 1.1


def test_nobody_waits_for_a_trial_and_there_is_one_at_a_time(rig: Rig) -> None:
    rig.open()
    asked, answers = threading.Event(), threading.Event()

    def answer() -> bytes:
        asked.set()
        assert answers.wait(60)
        return b"late"

    rig.store.answer = answer
    assert rig.read() is None
    assert asked.wait(60)
    rig.now_s += 60
    try:
        assert [rig.read() for _ in range(3)] == [None] * 3
        assert rig.reads == 2
    finally:
        answers.set()
    until(lambda: rig.read() == b"late", "it is reached again")


def test_another_bucket_goes_on(rig: Rig) -> None:
    rig.store.answer = unreachable
    assert rig.read() is None
    assert rig.breaker.read(BOB) == b"bob"
    assert rig.read() is None
    assert rig.reads == 1


@pytest.mark.parametrize(
    "error", [ArtifactNotFound(ANN.uri), ArtifactUnavailable(ANN.uri, "HTTP 503 SlowDown", reached=True)]
)
def test_a_store_that_says_no_was_reached(rig: Rig, error: Exception) -> None:
    def refuse() -> bytes:
        raise error

    rig.store.answer = refuse
    assert [rig.read(), rig.read()] == [None, None]
    assert rig.reads == 2


def _trials() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trial"]
