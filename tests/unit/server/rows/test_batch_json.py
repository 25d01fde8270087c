"""Batches from JSON and NDJSON: read in pieces as they would be read whole."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.errors import BatchTooLong, InvalidRequest
from tenantry_server.rows import batch_json
from tenantry_server.rows.batch import Records

TEXTS = st.sampled_from(["a", '},{"', "]}", '"', "\\", "é", "}, {", '\\"},'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROWS = st.lists(st.fixed_dictionaries({"user_id": TEXTS}) | VALUES, max_size=9)


def read(body: bytes, most: int = 1000) -> Records:
    return batch_json.parse(body, "user_id", most)


def rows_of(batch: Records) -> list[Any]:
    return batch.records(range(len(batch)))


@given(rows=ROWS, indent=st.sampled_from([None, 1]), piece=st.integers(0, 40))
def test_pieces_are_the_whole(rows: list[Any], indent: int | None, piece: int) -> None:
    """Wherever texts and values look like the end of a row."""
    body = json.dumps({"rows": rows}, indent=indent).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_json, "_PIECE_BYTES", piece)
        batch = read(body)
    assert rows_of(batch) == rows
    for row, given_row in enumerate(rows):
        named = isinstance(given_row, dict) and isinstance(given_row.get("user_id"), str)
        assert batch.users[row] == (given_row["user_id"] if named else None)
        assert (row in batch.problems) is not named


@given(body=st.text('{}[]",:1ab \\', max_size=40), piece=st.integers(0, 9))
def test_what_is_not_json_is_refused_however_it_is_cut(body: str, piece: int) -> None:
    text = f'{{"rows":[{{"user_id":"a"}},{body}]}}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_json, "_PIECE_BYTES", piece)
        try:
            wanted = orjson.loads(text)["rows"]
        except orjson.JSONDecodeError:
            with pytest.raises(InvalidRequest, match="not JSON"):
                read(text.encode())
            return
        try:
            assert rows_of(read(text.encode())) == wanted
        except InvalidRequest as error:
            assert "repeated" in str(error) or "unknown" in str(error)  # noqa: PT017 - or it is read


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", r"expected \{\"rows\".*got a list; rows of one user alone go to the path"),
        (b'{"instances": []}', "got an object with 'instances'"),
        (b'{"rows": 1}', "got rows that are the number 1"),
        (b'{"rows": [], "x": 1}', "unknown 'x' beside 'rows'"),
        (b'{"rows": [{"user_id": "a", "x": 1, "x": 2}]}', "the key 'x' is repeated in one object"),
        (b'{"rows": [{"user_id": "a"},]}', "the body is not JSON"),
        (b'{"rows": [{"user_id": "a"}', "the body is not JSON"),
        (b'{"numbers":[1],"rows":[]}', "one for each row"),
        (b'{"numbers":[03],"rows":[{"user_id":"a"}]}', "not JSON"),
        (b'{"numbers":[1,],"rows":[{"user_id":"a"}]}', "not JSON"),
    ],
)
def test_a_body_of_another_form_is_refused_in_words(body: bytes, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        read(body)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {},
            "row 1: column 'user_id' is missing, which names the user; name another one with ?user_column=",
        ),
        (
            {"user_id": 7},
            "row 1, column 'user_id' must be a text, as it names the user, got the number 7; as a ",
        ),
        ({"user_id": None}, "row 1, column 'user_id' must be a text, as it names the user, got null"),
        ([1], "row 1 must be an object, got a list"),
    ],
)
def test_a_row_without_a_user_is_a_problem_of_its_own(row: Any, words: str) -> None:
    batch = read(orjson.dumps({"rows": [{"user_id": "a"}, row]}))
    assert list(batch.users) == ["a", None]
    assert {at: str(error)[: len(words)] for at, error in batch.problems.items()} == {1: words}


def test_more_rows_than_may_be_are_refused() -> None:
    body = orjson.dumps({"rows": [{"user_id": "a"}] * 3})
    assert len(read(body, 3)) == 3
    with pytest.raises(BatchTooLong, match=r"3 rows; this server takes 2 .* TENANTRY_MAX_BATCH_ROWS"):
        read(body, 2)
    with pytest.raises(BatchTooLong):
        batch_json.parse_lines(b"{}\n{}\n{}", "user_id", 2)


def test_a_broken_line_fails_alone() -> None:
    lines = b'{"user_id":"a","x":1}\n\n{"user_id":\r\n{"user_id":"b","x":1,"x":2}\n{"user_id":"c"}\n'
    batch = batch_json.parse_lines(lines, "user_id", 10)
    assert list(batch.users) == ["a", None, "b", "c"]
    words = {row: str(error) for row, error in batch.problems.items()}
    assert words[1].startswith("row 1 is not JSON: ")
    assert words[2] == "row 2: the key 'x' is repeated in one object"
    assert len(words) == 2


def test_the_numbers_of_rows_are_those_that_another_server_gives() -> None:
    batch = read(b'{"numbers":[4,7],"rows":[{"user_id":"a"},{"user_id":1}]}')
    assert [batch.number(row) for row in range(2)] == [4, 7]
    assert str(batch.problems[1]).startswith("row 7, column 'user_id'")


def test_a_matrix_says_which_rows_have_other_values() -> None:
    rows = [
        {"user_id": "a", "x": 1, "y": True},
        {"user_id": "a", "x": "1", "y": 2},
        {"user_id": "a", "x": 1},
        {"user_id": "a", "y": 4.5, "x": 3},
        {"user_id": "a", "x": 1, "y": 2, "z": 3},
        {"user_id": "a", "x": None, "y": 2},
        {"user_id": "a", "x": 10**400, "y": 2},
    ]
    batch = Records(rows)
    matrix, odd = batch.matrix(range(7), ["x", "y"], extra=False)
    assert (matrix.tolist()[0], matrix.tolist()[3], odd) == ([1.0, 1.0], [3.0, 4.5], [1, 2, 4, 5, 6])
    assert batch.matrix([0, 3], ["x", "y"], extra=False)[1] == []
    assert batch.matrix([4], ["x", "y"], extra=True)[0].tolist() == [[1.0, 2.0]]
    assert batch.matrix([0], ["y"], extra=True)[0].tolist() == [[1.0]]
