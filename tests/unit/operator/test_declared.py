"""What may be removed when a source shows less than before."""

import pytest

from tenantry_operator.control.removal import prune
from tenantry_operator.declared import Declaration, Listing


def declared(uid: str, generation: int) -> Declaration:
    return Declaration(uid, "default", uid, generation, 0.0, None)


def test_of_many_listings_the_newest_word_on_each_counts() -> None:
    merged = Listing.merged(
        [
            Listing({"a": declared("a", 1), "b": declared("b", 1)}, absent={"c"}, deleted={"d"}),
            Listing({"a": declared("a", 2), "c": declared("c", 1)}, deleted={"b"}),
            Listing({"d": declared("d", 5)}, absent={"e"}, complete=True),
            Listing({"a": declared("a", 1)}),  # a page that was read before the event
        ]
    )
    assert merged.complete
    assert {uid: each.generation for uid, each in merged.declared.items()} == {"a": 2, "c": 1, "d": 5}
    assert merged.absent == {"e"}
    assert merged.deleted == {"b"}


def uids(n: int) -> set[str]:
    return {f"uid-{i}" for i in range(n)}


@pytest.mark.parametrize(
    ("known", "missing", "removed"),
    [
        (0, 0, True),
        (1, 1, True),
        (50, 50, True),
        (51, 51, False),
        (1000, 50, True),
        (1000, 51, False),
        (2000, 100, True),
        (2000, 101, False),
        (10_000, 500, True),
        (10_000, 501, False),
    ],
)
def test_at_most_50_or_5_percent_go_at_once(known: int, missing: int, *, removed: bool) -> None:
    decision = prune(uids(known), uids(missing), allow_mass_delete=False)
    assert decision.uids == (uids(missing) if removed else set())
    assert decision.refused == (set() if removed else uids(missing))


def test_a_person_may_allow_all_of_it() -> None:
    decision = prune(uids(1000), uids(1000), allow_mass_delete=True)
    assert decision.uids == uids(1000)
    assert decision.refused == set()


def test_what_was_never_known_does_not_count() -> None:
    """A source remembers what it has seen go; that must not add up to a mass deletion."""
    decision = prune({"a", "b"}, uids(1000) | {"a"}, allow_mass_delete=False)
    assert decision.uids == {"a"}
    assert decision.refused == set()
