"""Streams of changes: bounded, and ended with their clients."""

import threading
from collections.abc import Iterator

import pytest

from tenantry_operator.ui.sight import Recent
from tenantry_operator.ui.stream import Streams


def _events(stream: Iterator[bytes] | None) -> Iterator[bytes]:
    assert stream is not None
    assert next(stream).startswith(b"retry: ")
    return stream


def test_a_change_is_told_once_and_what_the_client_has_seen_is_not() -> None:
    versions = iter(["a", "a", "b", "b", "c"])
    streams = Streams(lambda: next(versions), tick_s=0.0)
    stream = _events(streams.open("a", lambda: True))
    assert next(stream) == b"id: b\nevent: change\ndata: b\n\n"
    assert next(stream) == b"id: c\nevent: change\ndata: c\n\n"


def test_a_stream_ends_when_its_client_is_gone_and_leaves_its_place_to_another() -> None:
    there = True
    streams = Streams(lambda: "a", most=1, tick_s=0.0)
    stream = _events(streams.open("", lambda: there))
    next(stream)
    assert streams.open("", lambda: True) is None
    there = False
    with pytest.raises(StopIteration):
        next(stream)
    assert streams.open("", lambda: True) is not None


def test_a_place_is_given_back_once_however_the_stream_ends() -> None:
    """A client that was gone before its first byte, and a look that failed."""
    streams = Streams(lambda: 1 / 0, most=1, tick_s=0.0)  # type: ignore[arg-type, return-value]
    for _ in range(3):
        unbegun = streams.open("", lambda: True)
        assert unbegun is not None
        unbegun.close()  # type: ignore[attr-defined]
        unbegun.close()  # type: ignore[attr-defined]
    failing = _events(streams.open("", lambda: True))
    with pytest.raises(ZeroDivisionError):
        next(failing)
    assert streams.open("", lambda: True) is not None
    assert streams.open("", lambda: True) is None


def test_closing_ends_every_stream() -> None:
    streams = Streams(lambda: "a", tick_s=60.0)
    stream = _events(streams.open("a", lambda: True))
    closer = threading.Thread(target=streams.close)
    closer.start()
    assert list(stream) == []
    closer.join()


def test_many_readers_of_one_value_read_it_once() -> None:
    now_s, reads = 0.0, 0

    def read() -> int:
        nonlocal reads
        reads += 1
        if reads == 2:
            raise OSError("gone")
        return reads

    recent = Recent(read, 2.0, lambda: now_s)
    assert [recent.get(), recent.get()] == [1, 1]
    now_s = 2.0
    with pytest.raises(OSError, match="gone"):
        recent.get()
    assert recent.get() == 3, "a failure is not kept"
