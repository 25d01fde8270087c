"""Checks that a UBJSON document (Draft 12, ubjson.org) is whole, as XGBoost's reader assumes."""

import struct
from typing import Any

_INTEGERS: dict[int, struct.Struct] = {
    ord(marker): struct.Struct(f">{code}")
    for marker, code in {"i": "b", "U": "B", "I": "h", "l": "i", "L": "q"}.items()
}
_WIDTHS = {marker: form.size for marker, form in _INTEGERS.items()}
_WIDTHS |= {
    ord(marker): width for marker, width in {"d": 4, "D": 8, "C": 1, "Z": 0, "T": 0, "F": 0}.items()
}
_MOST_NESTED = 64  # XGBoost's models nest 8 deep, and its reader recurses at each level


def check_whole(data: bytes) -> None:
    """Walk through a whole document, without building anything.

    Raises:
        ValueError: it is cut off, or something in it is not UBJSON.
    """
    try:
        end = _after_value(data, 0, 0)
    except (IndexError, struct.error):
        raise ValueError("the UBJSON document is cut off") from None
    if end > len(data):
        raise ValueError("the UBJSON document is cut off")


def _after_value(data: bytes, at: int, depth: int) -> int:
    """Return where the value whose marker is at `at` ends."""
    marker = data[at]
    if marker == ord("{"):
        return _after_object(data, at + 1, _deeper(depth))
    if marker == ord("["):
        return _after_array(data, at + 1, _deeper(depth))
    if marker == ord("S"):
        return _after_string(data, at + 1)
    return at + 1 + _width(marker, at)


def _after_object(data: bytes, at: int, depth: int) -> int:
    while data[at] != ord("}"):
        at = _after_value(data, _after_string(data, at), depth)
    return at + 1


def _after_array(data: bytes, at: int, depth: int) -> int:
    typed = data[at] == ord("$")
    if typed:
        kind, at = data[at + 1], at + 2
    if data[at] == ord("#"):
        count, at = _integer(data, at + 1)
        if typed:
            return _within(data, at + count * _width(kind, at))
        for _ in range(count):
            at = _after_value(data, at, depth)
        return at
    if typed:
        raise ValueError(f"the UBJSON array at byte {at} has a type and no count")
    while data[at] != ord("]"):
        at = _after_value(data, at, depth)
    return at + 1


def _after_string(data: bytes, at: int) -> int:
    length, at = _integer(data, at)
    return _within(data, at + length)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Read a length with its own marker; return it, and where it ends."""
    form: Any = _INTEGERS.get(data[at])
    if form is None:
        raise ValueError(f"the UBJSON document has no length at byte {at}")
    (value,) = form.unpack_from(data, at + 1)
    if value < 0:
        raise ValueError(f"the UBJSON document has a negative length at byte {at}")
    return value, at + 1 + form.size


def _width(marker: int, at: int) -> int:
    width = _WIDTHS.get(marker)
    if width is None:
        raise ValueError(f"the UBJSON document has the unknown type {chr(marker)!r} at byte {at}")
    return width


def _within(data: bytes, end: int) -> int:
    if end > len(data):
        raise IndexError
    return end


def _deeper(depth: int) -> int:
    if depth == _MOST_NESTED:
        raise ValueError(f"the UBJSON document nests deeper than {_MOST_NESTED}")
    return depth + 1
