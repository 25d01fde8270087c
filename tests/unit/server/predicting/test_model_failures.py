"""Failures of models in the log: once a minute for each model, bounded, and none lost from the count."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tenantry import TenantryError
from tenantry.errors import ModelCrashed, ModelNotAssigned, PredictionFailed
from tenantry_server.predicting.model_failures import ModelFailures


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def failed(model_id: str | None = None) -> PredictionFailed:
    error = PredictionFailed("Sum raised ValueError: 3.25")
    error.model_id = model_id
    return error


def named(user_id: str) -> str:
    return f"file:///{user_id}"


def test_one_line_a_minute_says_who_what_and_how_many_more(clock: Clock) -> None:
    failures = ModelFailures(named, clock)
    with capture_logs() as lines:
        for second in range(130):
            clock.now_s = 1000.0 + second
            failures.add("ann", failed())
    assert [(line["user"], line["model"], line["not_logged"]) for line in lines] == [
        ("ann", "file:///ann", 0),
        ("ann", "file:///ann", 59),
        ("ann", "file:///ann", 59),
    ]
    assert "3.25" not in str(lines)


def test_each_model_has_its_own_minute(clock: Clock) -> None:
    failures = ModelFailures(named, clock)
    with capture_logs() as lines:
        for user_id in ("ann", "bob", "ann", "bob"):
            failures.add(user_id, failed())
    assert [line["user"] for line in lines] == ["ann", "bob"]


def test_the_model_that_failed_is_named_although_another_one_answers_by_now(clock: Clock) -> None:
    with capture_logs() as lines:
        ModelFailures(named, clock).add("ann", failed("file:///older"))
    assert lines[0]["model"] == "file:///older"


def test_ten_thousand_models_take_bounded_room_and_are_counted(clock: Clock) -> None:
    failures = ModelFailures(named, clock)
    with capture_logs() as lines:
        for number in range(10_000):
            failures.add(f"user-{number}", failed())
            failures.add(f"user-{number}", failed())
        assert len(lines) == 256
        clock.now_s += 61.0
        failures.add("late", failed())
    assert sum(line["not_logged"] + line["not_logged_of_others"] for line in lines) == 20_000 - 256 - 255
    assert lines[-1]["user"] == "late"
    assert len(failures._logged_s) <= 256
    assert len(failures._not_logged) <= 256


def test_a_model_that_ended_its_process_is_logged_with_how(clock: Clock) -> None:
    with capture_logs() as lines:
        ModelFailures(named, clock).add("ann", ModelCrashed("file:///ann", "a prediction: signal SIGSEGV"))
    assert "SIGSEGV" in lines[0]["error"]
    assert lines[0]["traceback"] == ""


def test_a_user_who_is_gone_by_now_does_no_harm(clock: Clock) -> None:
    def gone(user_id: str) -> Any:
        raise ModelNotAssigned(user_id)

    with capture_logs() as lines:
        ModelFailures(gone, clock).add("ann", failed())
        ModelFailures(gone, clock).add(None, TenantryError("?"))
    assert [line["model"] for line in lines] == ["unknown", "unknown"]


def test_a_model_of_this_process_is_logged_with_its_traceback(clock: Clock) -> None:
    def predict() -> None:
        raise ZeroDivisionError

    try:
        predict()
    except ZeroDivisionError as raised:
        error = failed()
        error.__cause__ = raised
    with capture_logs() as lines:
        ModelFailures(named, clock).add("ann", error)
    assert lines[0]["traceback"].endswith("in predict\nZeroDivisionError")
