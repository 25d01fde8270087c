"""When something is looked up again."""

from tenantry_operator.control.retry_schedule import Schedule


def schedule() -> Schedule:
    return Schedule(first_s=1.0, last_s=60.0)


def test_nothing_is_due_before_its_moment_and_nothing_twice() -> None:
    later = schedule()
    later.after("a", 100.0, 5.0)
    later.after("b", 100.0, 6.0)
    assert later.due(104.9) == set()
    assert later.due(105.5) == {"a"}
    assert later.due(200.0) == {"b"}
    assert later.due(300.0) == set()


def test_each_retry_waits_about_twice_as_long_up_to_the_longest() -> None:
    """Jitter of a fifth either way, so that thousands that failed together don't come back together."""
    later = schedule()
    now_s = 0.0
    for expected_s in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        later.retry("a", now_s)
        assert later.due(now_s + expected_s * 0.799) == set()
        now_s += expected_s * 1.201
        assert later.due(now_s) == {"a"}


def test_a_thousand_failures_in_a_row_still_wait_the_longest_time() -> None:
    later = schedule()
    for _ in range(1000):
        later.retry("a", 0.0)
        assert later.due(100.0) == {"a"}
    later.retry("a", 0.0)
    assert later.due(47.0) == set()


def test_asking_for_a_retry_again_does_not_put_it_off() -> None:
    """Reports and resyncs come in between; each would otherwise double the wait."""
    later = schedule()
    later.retry("a", 0.0)
    for _ in range(10):
        later.retry("a", 0.7)
    assert later.due(1.2) == {"a"}
    later.retry("a", 10.0)
    assert later.due(12.4) == {"a"}


def test_a_success_forgets_the_failures_before_it() -> None:
    later = schedule()
    for _ in range(5):
        later.retry("a", 0.0)
        later.due(1000.0)
    later.after("a", 0.0, 300.0)
    assert later.due(300.0) == {"a"}
    later.retry("a", 1000.0)
    assert later.due(1001.2) == {"a"}


def test_what_is_forgotten_is_never_due() -> None:
    later = schedule()
    later.after("a", 0.0, 5.0)
    assert "a" in later
    later.forget("a")
    later.forget("never heard of")
    assert "a" not in later
    assert later.due(100.0) == set()


def test_the_newest_moment_counts() -> None:
    later = schedule()
    later.after("a", 0.0, 5.0)
    later.after("a", 0.0, 50.0)
    assert later.due(10.0) == set()
    later.after("a", 10.0, 1.0)
    assert later.due(11.0) == {"a"}
    assert later.due(1000.0) == set()


def test_forgotten_and_planned_for_the_same_moment_again_it_is_due_once() -> None:
    later = schedule()
    later.after("a", 0.0, 5.0)
    later.forget("a")
    later.after("a", 0.0, 5.0)
    assert later.due(5.0) == {"a"}
    assert later.due(5.0) == set()
