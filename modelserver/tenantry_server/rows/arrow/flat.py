"""FlatBuffers, the form of Arrow's messages: tables, texts and vectors (flatbuffers.dev/internals)."""

import struct
from collections.abc import Sequence
from typing import TypeAlias

Field: TypeAlias = "tuple[str, int] | None"
"""A field of a table: its form for `struct`, without the order of bytes, and its value; None: left out."""

OFFSET: Field = ("I", 0)
"""A field that names a place, which is written later."""


class Malformed(ValueError):
    """The bytes are not what they say that they are, or are more than is read here."""


class Table:
    """A table in a buffer that a stranger has sent: each read is checked.

    Args:
        data: the buffer.
        at: where the table begins.

    Raises:
        Malformed: it is outside the buffer, as all methods say.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - self._read("i", at)
        self._size = self._read("H", self._fields)

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """Return the table that a buffer is about."""
        return cls(data, _read(data, "I", 0))

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a number."""
        at = self._place(field)
        return default if at is None else self._read(form, at)

    def table(self, field: int) -> "Table | None":
        """Return a table; None: it is left out."""
        at = self._place(field)
        return None if at is None else Table(self._data, at + self._read("I", at))

    def text(self, field: int, most_bytes: int) -> str:
        """Return a text; empty where it is left out. Many fields may name one, so it is bounded."""
        at, length = self._vector(field, 1)
        if length > most_bytes:
            raise Malformed("a name that is too long")
        try:
            return self._data[at : at + length].decode()
        except UnicodeDecodeError:
            raise Malformed("a name is not UTF-8") from None

    def tables(self, field: int, most: int) -> "list[Table]":
        """Return a vector of tables. Many of them may be the same one, so their count is bounded."""
        at, length = self._vector(field, 4)
        if length > most:
            raise Malformed("too many tables")
        places = [at + 4 * number for number in range(length)]
        return [Table(self._data, place + self._read("I", place)) for place in places]

    def pairs(self, field: int) -> list[tuple[int, int]]:
        """Return a vector of structures of two 64-bit numbers."""
        at, length = self._vector(field, 16)
        flat = struct.unpack_from(f"<{2 * length}q", self._data, at)
        return list(zip(flat[::2], flat[1::2], strict=True))

    def has(self, field: int) -> bool:
        """Return whether a field is there."""
        return self._place(field) is not None

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        at = self._place(field)
        if at is None:
            return 0, 0
        at += self._read("I", at)
        length = self._read("I", at)
        if at + 4 + length * item_bytes > len(self._data):
            raise Malformed("a vector ends outside its message")
        return at + 4, length

    def _place(self, field: int) -> int | None:
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return None
        offset = self._read("H", self._fields + entry)
        return self._at + offset if offset else None

    def _read(self, form: str, at: int) -> int:
        return _read(self._data, form, at)


def _read(data: bytes, form: str, at: int) -> int:
    if at < 0:  # struct would count it from the end
        raise Malformed("a place before its message")
    try:
        (value,) = struct.unpack_from("<" + form, data, at)
    except struct.error:
        raise Malformed("a place outside its message") from None
    return int(value)


class Builder:
    """Writes a buffer from its root on: what a field names follows later.

    Example:
        >>> builder = Builder()
        >>> (name,) = builder.table(0, OFFSET)
        >>> builder.text(name, "km")
        >>> Table.root(bytes(builder.data)).text(0, most_bytes=99)
        'km'
    """

    def __init__(self) -> None:
        self.data = bytearray(4)

    def table(self, place: int, *fields: Field) -> list[int]:
        """Write the table that `place` names; return where each of its fields is."""
        offsets, end = [], 4
        for field in fields:
            size = 0 if field is None else struct.calcsize("<" + field[0])
            end += -end % size if size else 0
            offsets.append(end if size else 0)
            end += size
        head = struct.pack(f"<{len(fields) + 2}H", 4 + 2 * len(fields), end, *offsets)
        self._pad(len(head), 8)
        self.data += head
        self._point(place)
        start = len(self.data)
        self.data += struct.pack("<i", len(head)) + bytes(end - 4)
        for field, offset in zip(fields, offsets, strict=True):
            if field is not None:
                struct.pack_into("<" + field[0], self.data, start + offset, field[1])
        return [start + offset for offset in offsets]

    def text(self, place: int, text: str) -> None:
        """Write the text that `place` names."""
        written = text.encode()
        self._pad(0, 4)
        self._point(place)
        self.data += struct.pack("<I", len(written)) + written + b"\0"

    def places(self, place: int, length: int) -> list[int]:
        """Write the vector that `place` names, of tables that follow; return where each is named."""
        self._pad(0, 4)
        self._point(place)
        first = len(self.data) + 4
        self.data += struct.pack("<I", length) + bytes(4 * length)
        return [first + 4 * number for number in range(length)]

    def pairs(self, place: int, pairs: Sequence[tuple[int, int]]) -> None:
        """Write the vector that `place` names, of structures of two 64-bit numbers."""
        self._pad(4, 8)
        self._point(place)
        self.data += struct.pack("<I", len(pairs))
        self.data += struct.pack(f"<{2 * len(pairs)}q", *(number for pair in pairs for number in pair))

    def _point(self, place: int) -> None:
        struct.pack_into("<I", self.data, place, len(self.data) - place)

    def _pad(self, ahead: int, to: int) -> None:
        self.data += bytes(-(len(self.data) + ahead) % to)
