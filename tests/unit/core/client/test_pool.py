"""Connections that are kept between requests."""

import os

import pytest

from tenantry.client.pool import IDLE_S, IdlePool

URL = "http://a:1"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_the_newest_is_used_first_and_old_ones_are_given_up() -> None:
    """Before a server closes them: one that is closed as it is used costs a request."""
    clock = Clock()
    pool: IdlePool[str] = IdlePool(clock)
    assert pool.put(URL, "old") == []
    clock.now_s = IDLE_S + 1
    assert pool.put(URL, "new") == ["old"]
    assert (pool.get(URL), pool.get(URL), pool.get("http://b:1")) == ("new", None, None)


def test_no_more_are_kept_than_are_used_at_a_time() -> None:
    pool: IdlePool[int] = IdlePool(Clock())
    closed = [old for number in range(40) for old in pool.put(URL, number)]
    assert closed == list(range(8))
    assert pool.drain() == list(range(8, 40))
    assert pool.get(URL) is None


def test_a_child_process_leaves_its_parents_connections_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one connection would read each other's answers; a web server forks after import."""
    pool: IdlePool[str] = IdlePool(Clock())
    pool.put(URL, "of the parent")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert pool.get(URL) is None
    pool.put(URL, "of the child")
    assert pool.get(URL) == "of the child"
