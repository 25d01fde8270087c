"""Strikes: counted within ten minutes, and waits that double up to an hour."""

import pytest

from tenantry_server.workers import strikes as module
from tenantry_server.workers.strikes import Strikes


def test_three_strikes_within_the_window_make_a_model_wait_twice_as_long_each_time() -> None:
    strikes = Strikes()
    now_s = 0.0
    waits = []
    for _ in range(10):
        for _ in range(3):
            strikes.add("model", "signal SIGSEGV", now_s)
        waits.append(strikes.wait_s("model", now_s))
        now_s += 10_000  # past the window, and past any wait
        assert strikes.wait_s("model", now_s) == 0
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_strikes_outside_the_window_are_not_counted() -> None:
    strikes = Strikes()
    assert [strikes.add("model", "", now_s) for now_s in (0, 700, 1400)] == [1, 1, 1]
    assert strikes.wait_s("model", 1400) == 0
    assert strikes.has("model")


def test_what_happened_last_is_said() -> None:
    strikes = Strikes()
    strikes.add("model", "exit status 9", 0.0)
    strikes.add("model", "signal SIGKILL", 1.0)
    assert strikes.how("model") == "signal SIGKILL"
    assert strikes.described() == {"model": {"count": 2, "latest": "signal SIGKILL"}}
    assert (strikes.how("other"), strikes.has("other")) == ("", False)


def test_the_models_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_MODELS", 3)
    strikes = Strikes()
    for number in range(10):
        strikes.add(f"model-{number}", "", float(number))
    assert list(strikes.described()) == ["model-7", "model-8", "model-9"]
