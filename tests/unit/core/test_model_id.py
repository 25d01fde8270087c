"""Model ids."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry import ModelId

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="?#"), min_size=1)
_PARTS = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(_TEXT, st.tuples(*[_PARTS] * 6))
def test_what_was_written_is_read_back(uri: str, parts: tuple[str | None, ...]) -> None:
    written = ModelId(uri, *parts)
    assert ModelId.parse(str(written)) == written


def test_whatever_changes_the_answer_changes_the_id() -> None:
    """A cache keyed by it can't be stale."""
    one = ModelId("s3://b/k", sha256="0" * 64)
    others = [
        ModelId("s3://b/k2", sha256="0" * 64),
        ModelId("s3://b/k", sha256="1" * 64),
        ModelId("s3://b/k", sha256="0" * 64, version_id="1"),
        ModelId("s3://b/k", sha256="0" * 64, etag="1"),
        ModelId("s3://b/k", sha256="0" * 64, format="sklearn"),
        ModelId("s3://b/k", sha256="0" * 64, method="predict_proba"),
        ModelId("s3://b/k", sha256="0" * 64, compile="off"),
    ]
    assert len({str(each) for each in [one, *others]}) == len(others) + 1


def test_parts_that_a_newer_version_writes_are_ignored() -> None:
    assert ModelId.parse("s3://b/k#sha256=ab&novelty=1") == ModelId("s3://b/k", sha256="ab")
