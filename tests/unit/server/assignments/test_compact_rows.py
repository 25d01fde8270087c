"""Compact rows say what a dict of whole rows says, and a reading comes to the same in any pieces."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry import ModelId
from tenantry.registry import Assignment, Changes
from tenantry_server.assignments.compact_rows import SMALL_BYTES, CompactRows, Reading

USERS = ("ann", "bob", "cid")
MODELS = ("m1", "m2", "m3")
rows = st.builds(
    Assignment,
    st.sampled_from(USERS),
    st.just("uid"),
    st.integers(1, 3),
    st.sampled_from([None, *MODELS]),
    st.sampled_from([None, "m4"]),
    revision=st.integers(0, 3),
    size_bytes=st.sampled_from([None, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES * 9]),
    prewarm=st.booleans(),
    replicas=st.integers(1, 3),
    limits=st.sampled_from(["", '{"rows":5}']),
)
changes = st.lists(rows | st.sampled_from(USERS))


def kept(row: Assignment) -> Assignment:
    """What is kept of a row: all that a server asks for."""
    size_bytes = row.size_bytes if (row.size_bytes or 0) >= SMALL_BYTES else None
    revision = row.revision if row.candidate_id is not None else 0
    return replace(row, uid="", generation=0, size_bytes=size_bytes, revision=revision)


def changed(sequence: Sequence[Assignment | str]) -> tuple[CompactRows, dict[str, Assignment]]:
    """Both after the same changes; a name alone removes a user."""
    compact, plain = CompactRows(), dict[str, Assignment]()
    for change in sequence:
        if isinstance(change, str):
            compact.pop(change, None)
            plain.pop(change, None)
        else:
            compact[change.user_id], plain[change.user_id] = change, kept(change)
    return compact, plain


@given(changes)
def test_compact_rows_say_what_whole_rows_say(sequence: list[Assignment | str]) -> None:
    compact, plain = changed(sequence)
    models = {user: row.model_id for user, row in plain.items()}
    assert dict(compact) == plain
    assert compact.models == models
    assert [compact.answers(model) for model in MODELS] == [m in models.values() for m in MODELS]
    assert [compact.replicas_of(user) for user in USERS] == [
        plain[user].replicas if user in plain else 1 for user in USERS
    ]


@given(changes, changes)
def test_what_another_reading_leaves_without_a_user_answers_no_more(
    before: list[Assignment | str], after: list[Assignment | str]
) -> None:
    (older, was), (newer, now) = changed(before), changed(after)
    left = {row.model_id for row in was.values()} - {row.model_id for row in now.values()} - {None}
    assert older.answered_no_more(newer) == left


@given(changes, changes)
def test_a_copy_stays_as_it_was(before: list[Assignment | str], after: list[Assignment | str]) -> None:
    """Followers are sent it piece by piece, while the table goes on changing."""
    compact, plain = changed(before)
    copied = compact.copy()
    for change in after:
        if isinstance(change, str):
            compact.pop(change, None)
        else:
            compact[change.user_id] = change
    assert dict(copied) == plain
    assert [copied.answers(m) for m in MODELS] == [
        m in {row.model_id for row in plain.values()} for m in MODELS
    ]


def test_rows_of_a_sidecar_have_no_sizes() -> None:
    compact = CompactRows(sizes=False)
    compact["ann"] = Assignment("ann", "uid", 1, "m1", size_bytes=SMALL_BYTES)
    assert compact["ann"].size_bytes is None
    assert dict(compact.copy()) == dict(compact)


def test_a_large_model_is_known_by_its_bytes_as_long_as_it_answers() -> None:
    """A server asks before it loads the same bytes, for whatever user and from wherever."""
    rows = CompactRows()
    large = ModelId("s3://a/b.joblib", sha256="9f" * 32)
    rows["ann"] = Assignment("ann", "", 1, str(large), size_bytes=1 << 30)
    rows["bob"] = Assignment("bob", "", 1, "file:///small#sha256=" + "a" * 64, size_bytes=1 << 20)
    assert rows.size_of_large("9f" * 32) == rows.copy().size_of_large(str(large)) == 1 << 30
    assert rows.size_of_large("a" * 64) is None
    rows["ann"] = Assignment("ann", "", 2, None)
    assert rows.size_of_large("9f" * 32) is None


@given(st.lists(rows, unique_by=lambda row: row.user_id), st.integers(0, 3))
def test_a_reading_in_pieces_is_the_reading_of_all(found: list[Assignment], cut: int) -> None:
    reading = Reading(Changes(7, True, found[:cut], {}))
    reading.add(Changes(7, False, found[cut:], {}))
    assert dict(reading.rows) == dict(Reading(Changes(7, True, found, {})).rows)
    assert [row.user_id for row in reading.waiting] == [
        row.user_id for row in found if row.candidate_id or row.prewarm or row.replicas > 1
    ]


def test_pieces_of_two_readings_are_never_mixed() -> None:
    with pytest.raises(ValueError, match="first piece"):
        Reading(Changes(7, False, [], {}))
    reading = Reading(Changes(7, True, [], {}))
    for other in (Changes(8, False, [], {}), Changes(7, True, [], {})):
        with pytest.raises(ValueError, match="of this reading"):
            reading.add(other)


def test_a_reading_keeps_no_tombstone() -> None:
    reading = Reading(Changes(1, True, [Assignment("ann", "uid", 1, "m1", deleted=True)], {}))
    assert list(reading.rows) == []
