"""What a TenantModel says of the version that somebody waits for."""

from typing import Any

import pytest

from tenantry.manifest import readiness, status
from tenantry.manifest.readiness import Progress
from tenantry.manifest.status import State, Status

NEW, OLD = "s3://m/new.joblib", "s3://m/old.joblib"
SHA, OTHER = "ab" * 32, "cd" * 32


def tenant(
    state: State | None,
    *,
    reason: str = "Because",
    generation: int = 2,
    observed: int = 2,
    declares: str = NEW,
    answers: str | None = NEW,
    sha256: str = SHA,
) -> dict[str, Any]:
    """A TenantModel as an API server returns it, its conditions written by the operator's own code."""
    model_id = None if answers is None else f"{answers}#sha256={sha256}"
    said: dict[str, Any] = {"observedGeneration": observed}
    if state is not None:
        of = Status(state, reason, "words", observed, model_id)
        said |= {"modelId": model_id, "conditions": status.conditions(of, status.since(None, {}, of, 0.0))}
    spec = {"userId": "ann", "model": {"uri": declares, "sha256": sha256}}
    return {"metadata": {"name": "ann", "generation": generation}, "spec": spec, "status": said}


@pytest.mark.parametrize(
    ("seen", "progress"),
    [
        (tenant(State.READY), Progress.READY),
        (tenant(State.RECONCILING), Progress.WAITING),
        (tenant(State.STALLED), Progress.STALLED),
        (tenant(State.READY, observed=1), Progress.WAITING),  # about the version before
        (tenant(State.STALLED, observed=1), Progress.WAITING),  # so is this
        (tenant(State.READY, declares=OLD, answers=OLD), Progress.WAITING),  # a folder not read again yet
        (tenant(State.STALLED, declares=OLD), Progress.WAITING),
        (tenant(State.READY, answers=OLD), Progress.WAITING),
        (tenant(State.READY, sha256=OTHER), Progress.WAITING),
        (tenant(State.READY, answers=None), Progress.WAITING),
        (tenant(None, observed=-1), Progress.WAITING),
        (tenant(None), Progress.WAITING),
        ({"metadata": {}, "spec": None, "status": None}, Progress.WAITING),
        (None, Progress.WAITING),
    ],
)
def test_a_status_counts_for_the_version_that_it_is_about(
    seen: dict[str, Any] | None, progress: Progress
) -> None:
    assert readiness.judge(seen, uri=NEW, sha256=SHA).progress is progress


def test_without_an_artifact_whatever_is_declared_counts() -> None:
    assert readiness.judge(tenant(State.READY, declares=OLD, answers=OLD)).progress is Progress.READY
    assert readiness.judge(tenant(State.READY, observed=1)).progress is Progress.WAITING


def test_an_unpinned_version_is_ready_by_its_uri() -> None:
    """An object of S3 is named by its version or its ETag where nobody pinned a digest."""
    seen = tenant(State.READY)
    seen["status"]["modelId"] = f"{NEW}#etag=7"
    assert readiness.judge(seen, uri=NEW, sha256=SHA).progress is Progress.READY


def test_the_verdict_has_the_operator_s_words() -> None:
    verdict = readiness.judge(tenant(State.STALLED, reason="AnswersDiffer"), uri=NEW, sha256=SHA)
    assert (verdict.reason, verdict.message) == ("AnswersDiffer", "words")
    verdict = readiness.judge(tenant(State.RECONCILING, reason="NoServer"), uri=NEW, sha256=SHA)
    assert (verdict.reason, verdict.message) == ("NoServer", "words")


def test_a_version_that_another_one_replaced_is_not_waited_for() -> None:
    """Two jobs publish for one user: the first would wait until its time is over."""
    seen = tenant(State.READY, declares=OLD, answers=OLD, generation=3, observed=3)
    verdict = readiness.judge(seen, uri=NEW, sha256=SHA, generation=2)
    assert verdict.progress is Progress.STALLED
    assert OLD in verdict.message
    assert readiness.judge(seen, uri=NEW, sha256=SHA, generation=3).progress is Progress.WAITING
