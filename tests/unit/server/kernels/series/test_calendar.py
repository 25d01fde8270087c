"""Calendars that arithmetic knows have the steps that pandas has, and no others."""

import itertools
from typing import Any

import pandas as pd
import pytest

from tenantry_server.kernels.series.calendar import MONTHS, NUMBERS, SECONDS, Calendar, of_labels
from tenantry_server.scoring.timelines import label


@pytest.mark.parametrize(
    ("frequency", "first"),
    [
        *itertools.product(("D", "2D", "h", "6h", "15min", "s"), ("2026-11-30", "2026-11-30T05:30:00")),
        *itertools.product(("W-MON", "W-SUN", "2W-MON"), ("2026-11-29",)),
        *itertools.product(("MS", "ME", "2MS", "QS-OCT", "QE-DEC", "YS", "YE-MAR"), ("2024-01-29",)),
        ("h", "2026-11-30T05:00:00Z"),
        ("ME", "2024-01-29T12:00:00"),
    ],
)
def test_a_calendar_has_the_labels_of_pandas(frequency: str, first: str) -> None:
    times = pd.date_range(first, periods=1024, freq=frequency)
    labels = [label(each) for each in times]
    found = of_labels(labels[:64])
    assert found is not None
    assert found.labels(0, 1024) == labels
    before = pd.date_range(end=times[0], periods=41, freq=frequency)
    assert found.labels(-40, 41) == [label(each) for each in before]
    near = [label(each) for each in times if each.year < 2200]
    assert [found.place_of(each) for each in near] == list(range(len(near)))
    assert found.place_of(label(before[0])) == -40


@pytest.mark.parametrize("frequency", ["B", "BME", "ms", "WOM-2TUE"])
def test_other_calendars_are_not_made(frequency: str) -> None:
    times = pd.date_range("2026-11-30T00:00:00.001", periods=64, freq=frequency)
    assert of_labels([label(each) for each in times]) is None


@pytest.mark.parametrize(
    "other",
    [
        "2026-12-01T00:00",
        "2026-12-01T06:00:00",
        "20261201",
        "2026-12-01T00:00:00Z",
        "now",
        "",
        3,
        None,
        True,
    ],
)
def test_what_is_not_a_step_or_is_written_otherwise_has_no_place(other: Any) -> None:
    calendar = Calendar("2026-11-30", SECONDS, 86_400)
    assert calendar.place_of("2026-12-01") == 1
    assert calendar.place_of(other) is None


@pytest.mark.parametrize(
    "calendar",
    [
        Calendar("2026-11-30", SECONDS, 0),
        Calendar("2026-11-30", SECONDS, 1 << 60),
        Calendar("2026-11-30", MONTHS, 1),
        Calendar("2026-11-01", MONTHS, 1000),
        Calendar("9999-11-30", SECONDS, 86_400),
        Calendar("2026-11-30T00:00", SECONDS, 86_400),
        Calendar("x", SECONDS, 86_400),
        Calendar(3, SECONDS, 86_400),
        Calendar("3", NUMBERS, 1),
        Calendar("2026-11-30", "centuries", 1),
    ],
)
def test_a_calendar_that_ends_early_or_begins_nowhere_is_not_sound(calendar: Calendar) -> None:
    assert not calendar.is_sound()
