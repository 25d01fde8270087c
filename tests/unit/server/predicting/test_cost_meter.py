"""How busy a server is, and with whom."""

from typing import Any

import pytest

from tenantry_server.predicting.cost_meter import LoadMeter


class Clocks:
    def __init__(self) -> None:
        self.now_s = 100.0
        self.cpu_s = 5.0

    def meter(self) -> LoadMeter:
        return LoadMeter(lambda: self.now_s, lambda: self.cpu_s)

    def passed(self, seconds: float, *, busy_s: float = 0.0) -> None:
        self.now_s += seconds
        self.cpu_s += busy_s


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_the_load_is_the_busy_share_of_the_last_second(clocks: Clocks) -> None:
    meter = clocks.meter()
    assert meter.load == 0.0
    clocks.passed(2.0, busy_s=0.5)
    assert meter.load == 0.25
    clocks.passed(0.5, busy_s=0.5)
    assert meter.load == 0.25  # half a second says little
    clocks.passed(0.5, busy_s=0.2)
    assert meter.load == 0.7


def test_more_than_one_core_is_full(clocks: Clocks) -> None:
    """Eight threads may predict in C; what is above one core is still a server that can't take more."""
    meter = clocks.meter()
    clocks.passed(1.0, busy_s=3.0)
    assert meter.load == 1.0


def test_users_are_charged_for_their_models_and_for_each_request(clocks: Clocks) -> None:
    meter = clocks.meter()
    for _ in range(10):
        meter.spent("slow", 0.02)
    for _ in range(2000):
        meter.spent("often", 5e-6)
    meter.spent("seldom", 0.001)
    clocks.passed(1.0)
    assert meter.busiest == {"slow": pytest.approx(0.2, abs=0.01), "often": pytest.approx(0.13, abs=0.01)}
    clocks.passed(1.0)
    assert meter.busiest == {}


def test_only_a_few_are_named_the_busiest_of_all(clocks: Clocks) -> None:
    """A row of SQL is written each second."""
    meter = clocks.meter()
    for number in range(30):
        meter.spent(f"user-{number}", 0.1 + number / 1000)
    clocks.passed(1.0)
    named: Any = list(meter.busiest)
    assert named == [f"user-{number}" for number in range(29, 9, -1)]


def test_rows_of_one_request_count_where_a_user_has_many_of_them(clocks: Clocks) -> None:
    """A user with one row among a thousand could not take 5 % of a core that way."""
    meter = clocks.meter()
    users = ["busy", *(f"u{n}" for n in range(999))]
    meter.spent_together(users, [1000, *[1] * 999], 1e-4)
    meter.spent_together(users, [1] * 1000, 1e-4)
    clocks.passed(1.0)
    assert meter.busiest == {"busy": 0.1}
    assert meter._together == {}
