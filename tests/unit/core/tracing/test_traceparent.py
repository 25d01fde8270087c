"""Whose trace a request continues, by headers that a stranger may have written."""

import pytest

from tenantry.tracing.traceparent import Parent, lines_of, parent_of, state_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"
HOSTILE = [
    "",
    "00",
    GOOD.upper(),
    f" {GOOD}",
    f"{GOOD}\n",
    f"{GOOD},{GOOD}",
    f"{GOOD}-more",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}0-01",
    f"00-{TRACE}-{SPAN}-zz",
    f"00-{'٣' * 32}-{SPAN}-01",
    f"0x-{TRACE}-{SPAN}-01",
    f"01-{TRACE}-{SPAN}-01-" + "x" * 100_000,
    "00-" * 50_000,
    "\0" * 55,
]


def test_a_callers_span_is_read() -> None:
    assert parent_of(GOOD) == Parent(int(TRACE, 16), int(SPAN, 16), sampled=True)
    assert parent_of(f"00-{TRACE}-{SPAN}-02") == Parent(int(TRACE, 16), int(SPAN, 16), sampled=False)


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """Section 3.2.4 of the standard: what follows is not read."""
    assert parent_of(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") == parent_of(GOOD)
    assert parent_of(f"cc-{TRACE}-{SPAN}-01what") is None


@pytest.mark.parametrize("header", HOSTILE)
def test_what_is_not_as_the_standard_says_counts_as_not_sent(header: str) -> None:
    assert parent_of(header) is None


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (None, ""),
        ("", ""),
        ("a=1", "a=1"),
        ("a=1, b=2 ,,c=3", "a=1,b=2,c=3"),
        ("tenant@vendor=x", "tenant@vendor=x"),
        ("A=1", ""),
        ("a", ""),
        ("a=", ""),
        ("a=1=2", ""),
        ("a=1,a=2", ""),
        ("a=1\r\nEvil: yes", ""),
        ("a=\x00", ""),
        ("a=é", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        ("a=" + "x" * 600, ""),
    ],
)
def test_a_state_is_passed_on_whole_or_not_at_all(header: str | None, kept: str) -> None:
    assert state_of(header) == kept


def test_what_is_written_is_read_again() -> None:
    lines = lines_of(7, 9, "a=1").decode().split("\r\n")
    assert parent_of(lines[0].removeprefix("traceparent: ")) == Parent(7, 9, sampled=True)
    assert lines[1:] == ["tracestate: a=1", ""]
