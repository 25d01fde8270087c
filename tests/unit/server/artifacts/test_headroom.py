"""Memory for loads: large ones one after another, and none that could not end well."""

import threading
from collections.abc import Callable
from functools import partial

import pytest

from tenantry import ModelId
from tenantry.errors import MemoryTaken, ModelTooLarge
from tenantry_server.artifacts import headroom
from tenantry_server.artifacts.headroom import Headroom
from tenantry_server.artifacts.needs import Needs
from tests.support.waiting import until

MIB = 1 << 20
GIB = 1 << 30


def made(*, available: int | None, evictable: int = 0, at_once: int = 256 * MIB) -> Headroom:
    return Headroom(
        at_once_bytes=at_once, evictable_bytes=lambda: evictable, available_bytes=lambda: available
    )


def test_a_small_artifact_is_read_whatever_there_is() -> None:
    with made(available=0).load(ModelId("file:///small")):
        headroom.admit(MIB)


def test_a_model_that_can_never_fit_is_refused_in_words() -> None:
    """312 MiB under a limit of 1 GiB: 7 kills in 75 s, and a status of NoServer."""
    room = made(available=900 * MIB, evictable=100 * MIB)
    with (
        room.load(ModelId("file:///forest")),
        pytest.raises(ModelTooLarge, match="takes about 1936 MiB") as told,
    ):
        headroom.admit(312 * MIB)
    assert "raise its memory limit" in str(told.value)


def test_a_model_that_fits_once_others_are_given_up_is_tried_again() -> None:
    room = made(available=GIB, evictable=GIB)
    with room.load(ModelId("file:///forest")), pytest.raises(MemoryTaken) as told:
        headroom.admit(200 * MIB)
    assert told.value.retryable


def test_what_fitted_when_the_server_started_may_fit_again() -> None:
    """The process of a load that just ended may not have given back its memory yet."""
    left = [2 * GIB]
    room = Headroom(at_once_bytes=256 * MIB, evictable_bytes=lambda: 0, available_bytes=lambda: left[0])
    left[0] = GIB
    with room.load(ModelId("file:///large")), pytest.raises(MemoryTaken):
        headroom.admit(250 * MIB)


def test_what_a_load_took_before_counts_more_than_its_file() -> None:
    """A file of 17 MiB that unfolds to 1 GiB passed, and one of 300 MiB that needs 400 was refused."""
    needs = Needs()
    unfolds, plain = (ModelId(f"file:///{name}.joblib", sha256=name * 64) for name in "ab")
    needs.was_not_enough(unfolds, 900 * MIB)
    needs.learn(plain, 390 * MIB)
    room = Headroom(
        at_once_bytes=256 * MIB, evictable_bytes=lambda: 0, available_bytes=lambda: 900 * MIB, needs=needs
    )
    with room.load(unfolds), pytest.raises(ModelTooLarge, match="takes about 964 MiB"):
        headroom.admit(17 * MIB)
    assert not room.is_small(unfolds)
    with room.load(plain):
        headroom.admit(300 * MIB)
    with room.load(ModelId("file:///unknown.joblib")), pytest.raises(ModelTooLarge):
        headroom.admit(300 * MIB)


def test_where_nobody_knows_what_there_is_everything_is_read() -> None:
    with made(available=None).load(ModelId("file:///huge")):
        headroom.admit(100 * GIB)


def test_large_loads_take_turns() -> None:
    """Six cold models of 200 MB, a bound of 256 MB: 2.1 GB at once."""
    room = made(available=100 * GIB)
    lock = threading.Lock()
    now, most, done = 0, 0, 0
    go_on = threading.Semaphore(0)

    def load() -> None:
        nonlocal now, most, done
        with room.load(ModelId("file:///large")):
            headroom.admit(200 * MIB)
            with lock:
                now += 1
                most = max(most, now)
            go_on.acquire()
            with lock:
                now -= 1
                done += 1

    def _passed(number: int) -> bool:
        return done > number

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(6):
        until(lambda: now == 1, "one is loading")
        go_on.release()
        until(partial(_passed, number), "it has ended")
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_load_that_fails_makes_room() -> None:
    room = made(available=100 * GIB)

    def failing() -> None:
        with room.load(ModelId("file:///large")):
            headroom.admit(200 * MIB)
            raise OSError("the disk")

    for _ in range(3):
        with pytest.raises(OSError, match="the disk"):
            failing()


def test_a_second_source_of_the_same_artifact_does_not_wait_for_the_first() -> None:
    """A damaged file of the disk cache, then S3."""
    with made(available=100 * GIB).load(ModelId("file:///large")):
        headroom.admit(200 * MIB)
        headroom.admit(200 * MIB)


def test_outside_a_load_nothing_is_asked() -> None:
    headroom.admit(100 * GIB)


def test_this_machine_says_what_it_has() -> None:
    available = headroom.machine_available_bytes()
    assert available is not None
    assert 16 * MIB < available < 1 << 50


@pytest.mark.parametrize(
    ("limit", "expected"), [("1073741824\n", 1073741824 - 500 + 200), ("max\n", None), ("400\n", 100)]
)
def test_what_a_control_group_has_left(
    tmp_path_factory: pytest.TempPathFactory, limit: str, expected: int | None
) -> None:
    """Pages of files that were read are given back before anything is ended."""
    group = tmp_path_factory.mktemp("group")
    (group / "memory.max").write_text(limit)
    (group / "memory.current").write_text("500\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 200\n")
    left: Callable[..., int | None] = headroom._left_bytes
    assert left(group, "memory.max", "memory.current", "inactive_file") == expected
