"""Calls that never return, and those beside them."""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tenantry.processes.threads import Threads
from tests.support.waiting import PATIENCE_S, until


class Hangs:
    """Calls that return once they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def __call__(self) -> str:
        self.go.wait()
        return "late"


@pytest.fixture
def hangs() -> Iterator[Hangs]:
    made = Hangs()
    yield made
    made.go.set()


def test_results_and_errors_arrive() -> None:
    threads = Threads(2, "t", timeout_s=60)
    assert [threads.submit(lambda n=n: n * n).result(PATIENCE_S) for n in range(50)] == [  # type: ignore[misc]
        n * n for n in range(50)
    ]
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result(PATIENCE_S)
    with pytest.raises(SystemExit):
        threads.submit(sys.exit).result(PATIENCE_S)
    assert threads.submit(lambda: 7).result(PATIENCE_S) == 7


def test_no_more_run_at_once_than_may() -> None:
    threads = Threads(3, "t", timeout_s=60)
    running, most, lock = 0, 0, threading.Lock()

    def counted() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1

    for done in [threads.submit(counted) for _ in range(100)]:
        done.result(PATIENCE_S)
    assert most == 3


def test_calls_that_hang_are_replaced(hangs: Hangs) -> None:
    threads = Threads(2, "t", timeout_s=0.02)
    hung = [threads.submit(hangs) for _ in range(4)]
    assert threads.submit(lambda: "quick").result(PATIENCE_S) == "quick"
    assert not any(each.done() for each in hung)
    until(lambda: threads.hung == 4, "all four take too long")
    hangs.go.set()
    assert [each.result(PATIENCE_S) for each in hung] == ["late"] * 4
    until(lambda: threads.hung == 0, "they no longer count")
    assert threads.submit(lambda: 1).result(PATIENCE_S) == 1


def test_one_that_hangs_may_be_answered_for_with_where_it_is(hangs: Hangs) -> None:
    threads = Threads(1, "t", timeout_s=0.5, late=ValueError)
    with pytest.raises(ValueError, match=r"in wait, .*threading\.py:\d+"):
        threads.submit(hangs).result(PATIENCE_S)
    hangs.go.set()
    until(lambda: threads.hung == 0, "it ended, and its result is dropped")


def test_those_that_hang_are_bounded(hangs: Hangs) -> None:
    threads = Threads(1, "t", timeout_s=0.01)
    before = threading.active_count()
    waiting: list[Future[str]] = [threads.submit(hangs) for _ in range(10)]
    until(lambda: threads.hung == 5, "as many as may hang do")
    waiting.append(threads.submit(hangs))
    assert threading.active_count() - before <= 6  # and the watcher
    assert sum(each.running() for each in waiting) == 5
    hangs.go.set()
    assert [each.result(PATIENCE_S) for each in waiting] == ["late"] * 11


def test_a_call_that_was_cancelled_before_its_turn_is_not_made(hangs: Hangs) -> None:
    threads = Threads(1, "t", timeout_s=60)
    threads.submit(hangs)
    made: list[int] = []
    cancelled = threads.submit(lambda: made.append(1))
    assert cancelled.cancel()
    after = threads.submit(lambda: made.append(2))
    hangs.go.set()
    after.result(PATIENCE_S)
    assert made == [2]


def test_closed_it_makes_no_more(hangs: Hangs) -> None:
    threads = Threads(1, "t", timeout_s=60)
    running, waiting = threads.submit(hangs), threads.submit(hangs)
    until(running.running, "it runs")
    threads.close()
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(hangs)
    hangs.go.set()
    assert running.result(PATIENCE_S) == "late"
