"""A batch from JSON or NDJSON, read in pieces, so that others wait no longer than some milliseconds."""

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import orjson

from tenantry.errors import BatchTooLong, InvalidRequest
from tenantry_server.rows.batch import AT_ONCE, Records
from tenantry_server.rows.payload import refuse_double_keys, short, shown

_PIECE_BYTES = 128 << 10  # 1 ms to parse
_SPACE = b" \t\r\n"
_HEAD = re.compile(
    rb'[ \t\r\n]*\{[ \t\r\n]*(?:"numbers"[ \t\r\n]*:[ \t\r\n]*(\[[0-9,]*\])[ \t\r\n]*,[ \t\r\n]*)?'
    rb'"rows"[ \t\r\n]*:[ \t\r\n]*\['
)
_FORM = '{"rows": [{"user_id": "ann", …}, …]}'


def parse(body: bytes, user_column: str, most_rows: int) -> Records:
    """Read ``{"rows": [{"user_id": "a", "x": 1.0}, …]}``.

    A member ``numbers`` before it has the number of each row for messages: one server sends it to another.

    Raises:
        InvalidRequest: it is something else.
        BatchTooLong: it has more than `most_rows` rows.
    """
    rows, numbers = _in_pieces(body, user_column) or _whole(body)
    if numbers is not None and not (
        isinstance(numbers, list)
        and len(numbers) == len(rows)
        and all(type(each) is int for each in numbers)
    ):
        raise InvalidRequest("numbers must be a list of whole numbers, one for each row")
    _check_count(len(rows), most_rows)
    return Records(rows, user_column, shown=numbers)


def parse_lines(body: bytes, user_column: str, most_rows: int) -> Records:
    """Read NDJSON: a row a line. A line that is not JSON is a problem of its row alone.

    Raises:
        BatchTooLong: it has more than `most_rows` rows.
    """
    lines = [line for line in body.split(b"\n") if not line.isspace() and line]
    _check_count(len(lines), most_rows)
    rows: list[Any] = []
    broken: dict[int, InvalidRequest] = {}
    following = iter(lines)
    while some := list(islice(following, AT_ONCE)):
        joined = b",".join(some)
        read = _read(joined, user_column)
        if read is None or len(read) != len(some):
            read = list(_line_by_line(some, len(rows), broken))
        rows += read
    return Records(rows, user_column, broken=broken)


def _line_by_line(lines: Sequence[bytes], first: int, broken: dict[int, InvalidRequest]) -> Iterable[Any]:
    for number, line in enumerate(lines, first):
        try:
            yield orjson.loads(line)
            refuse_double_keys(line)
        except orjson.JSONDecodeError as error:
            broken[number] = InvalidRequest(f"row {number} is not JSON: {error}")
            yield None
        except InvalidRequest as error:
            broken[number] = InvalidRequest(f"row {number}: {error}")


def _in_pieces(body: bytes, user_column: str) -> tuple[list[Any], Any] | None:
    """Read the usual form; None: it has another form, or repeats a key.

    A piece ends behind a ``}`` with a comma after it. Closed by a bracket it is JSON only if that was the
    end of a row: inside a text the text stays open, and deeper down the bracket closes something else. So
    the pieces are JSON if and only if all of them together are.
    """
    head = _HEAD.match(body)
    if head is None:
        return None
    end = _before(body, len(body), b"}")
    end = _before(body, end, b"]")
    at = head.end()
    if end < at:
        return None
    try:
        numbers = None if head[1] is None else orjson.loads(head[1])
    except orjson.JSONDecodeError:
        return None
    rows: list[Any] = []
    while True:
        cut = body.find(b"},", at + _PIECE_BYTES, end)
        piece = body[at : end if cut < 0 else cut + 1]
        read = _read(piece, user_column)
        if read is None or (at > head.end() and not piece.strip(_SPACE)):
            return None
        rows += read
        if cut < 0:
            return rows, numbers
        at = cut + 2


def _before(body: bytes, end: int, wanted: bytes) -> int:
    """Return where the last byte before `end` is that is not white space, if it is this one; else -1."""
    while end > 0 and body[end - 1 : end] in (b" ", b"\t", b"\r", b"\n"):
        end -= 1
    return end - 1 if end > 0 and body[end - 1 : end] == wanted else -1


def _read(piece: bytes, user_column: str) -> list[Any] | None:
    """Read rows with commas between them; None: they are not JSON, or an object repeats a key."""
    try:
        rows: list[Any] = orjson.loads(b"[%b]" % piece)
    except orjson.JSONDecodeError:
        return None
    # orjson keeps the last of equal keys without a word. Where each quotation mark belongs to a key or a
    # text that was kept, no key is repeated.
    if not {*map(type, rows)} <= {dict}:
        return None
    left = piece.count(b'"') - 2 * sum(map(len, rows))
    if left and left != 2 * sum(type(row.get(user_column)) is str for row in rows):
        left -= 2 * sum([*map(type, row.values())].count(str) for row in rows)
        if left:
            return None
    return rows


def _whole(body: bytes) -> tuple[list[Any], Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error}") from None
    refuse_double_keys(body)
    if not isinstance(document, dict) or not isinstance(document.get("rows"), list):
        seen = document
        if isinstance(document, dict):
            seen = f"an object with {', '.join(map(short, list(document)[:5])) or 'no keys'}"
            if "rows" in document:
                seen = f"rows that are {shown(document['rows'])}"
        else:
            seen = shown(document)
        raise InvalidRequest(
            f"expected {_FORM}, got {seen}; rows of one user alone go to the path with its user id"
        )
    unknown = [name for name in document if name not in ("rows", "numbers")]
    if unknown:
        raise InvalidRequest(f"unknown {short(unknown[0])} beside 'rows'; expected {_FORM}")
    return document["rows"], document.get("numbers")


def _check_count(rows: int, most: int) -> None:
    if rows > most:
        raise BatchTooLong(rows, most)
