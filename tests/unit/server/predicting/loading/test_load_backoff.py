"""After a failed load nothing is tried again before its time, and the answer says when that is."""

import pytest

from tenantry.errors import ArtifactNotFound, ArtifactUnavailable
from tenantry_server.predicting.loading.load_backoff import LoadBackoff


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def refused_for_s(backoff: LoadBackoff) -> float | None:
    try:
        backoff.check("m")
    except ArtifactUnavailable as error:
        return error.retry_after_s
    return None


def test_the_wait_doubles_up_to_half_a_minute_and_ends_with_success() -> None:
    clock = Clock()
    backoff = LoadBackoff(clock_s=clock)
    waits: list[float] = []
    for _ in range(9):
        assert refused_for_s(backoff) is None
        backoff.failed("m", ArtifactUnavailable("s3://b/m", "HTTP 503"))
        waits.append(refused_for_s(backoff) or 0)
        clock.now_s += waits[-1]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30], rel=0.21)
    backoff.succeeded("m")
    backoff.failed("m", ArtifactUnavailable("s3://b/m", "HTTP 503"))
    assert refused_for_s(backoff) == pytest.approx(0.5, rel=0.21)


def test_only_the_model_that_failed_waits() -> None:
    backoff = LoadBackoff(clock_s=Clock())
    backoff.failed("m", ArtifactNotFound("s3://b/m"))
    backoff.check("another")
    with pytest.raises(ArtifactNotFound, match="no artifact at s3://b/m"):
        backoff.check("m")


def test_what_is_remembered_is_bounded() -> None:
    backoff = LoadBackoff(clock_s=Clock())
    for number in range(10_001):
        backoff.failed(f"m-{number}", ArtifactNotFound("s3://b/m"))
    backoff.check("m-0")
    with pytest.raises(ArtifactNotFound):
        backoff.check("m-10000")
