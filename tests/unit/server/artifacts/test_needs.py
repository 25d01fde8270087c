"""What a load takes: by what is known of the same bytes, wherever they were loaded."""

import pytest

from tenantry import ModelId
from tenantry_server.artifacts.needs import Needs

MIB = 1 << 20
EXACT = ModelId("s3://models/a.joblib", sha256="9f" * 32)
ELSEWHERE = ModelId("s3://copies/b.joblib", sha256="9f" * 32)


@pytest.mark.parametrize(
    ("artifact", "measured", "ran_out", "size", "expected"),
    [
        (100, None, None, None, 600),
        (100, 130, None, None, 143),
        (100, 130, None, 2000, 143),  # measured here: what it took, and not what is in memory afterwards
        (17, None, None, 1024, 2 * (17 + 1024)),
        (100, None, None, 130, 460),
        (100, None, None, 40, 600),  # a kernel of a forest says little of what it was made of
        (17, None, 900, None, 900),
        (17, None, 900, 1024, 2 * (17 + 1024)),
        (0, None, None, 1024, 2048),  # asked before the file was seen
    ],
)
def test_what_a_load_takes(
    artifact: int, measured: int | None, ran_out: int | None, size: int | None, expected: int
) -> None:
    needs = Needs()
    needs.size_elsewhere = lambda _: size and size * MIB
    if measured is not None:
        needs.learn(ELSEWHERE, measured * MIB)
    if ran_out is not None:
        needs.was_not_enough(ELSEWHERE, ran_out * MIB)
    assert needs.bytes_of(EXACT, artifact * MIB) == pytest.approx(expected * MIB)


def test_a_load_that_ended_well_ends_what_was_said_before() -> None:
    """Another process may have taken the memory, and what fits now fits."""
    needs = Needs()
    needs.was_not_enough(EXACT, 900 * MIB)
    needs.learn(EXACT, 100 * MIB)
    assert needs.bytes_of(EXACT, MIB) < 900 * MIB
    needs.was_not_enough(EXACT, 900 * MIB)
    assert needs.bytes_of(EXACT, MIB) == 900 * MIB


def test_bytes_without_a_digest_are_known_by_their_id() -> None:
    needs = Needs()
    needs.learn(ModelId("file:///a.joblib"), 10 * MIB)
    assert needs.bytes_of(ModelId("file:///a.joblib"), 0) == 11 * MIB
    assert needs.bytes_of(ModelId("file:///b.joblib"), 0) == 0
