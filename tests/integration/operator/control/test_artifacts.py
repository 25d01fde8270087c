"""Artifacts that are overwritten, late, hostile, or behind a store that is silent."""

import os
import threading
import time
from typing import Any

import pytest

from tenantry import ModelId
from tenantry.manifest.spec import ModelSource
from tenantry.stores.file_roots import ANYWHERE
from tenantry_operator.artifacts.lookups import Lookups
from tenantry_operator.artifacts.resolver import Resolver
from tests.support.operator.rig import (
    Rig,
    Server,
    no_s3,
    pass_time,
    resync,
)
from tests.support.waiting import until


def test_an_artifact_that_is_overwritten_is_followed(rig: Rig) -> None:
    rig.declare("ann", "1", refreshInterval="5m")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    first = server.answer("ann")
    rig.publish("ann", "2")
    rig.step()
    assert rig.reason("ann") == "Ready"
    pass_time(rig, 301)
    rig.step()
    assert rig.status("ann") == ("Loading", first)
    rig.until_ready(server)
    assert rig.status("ann") == ("Ready", server.answer("ann"))
    assert server.answer("ann") != first


def test_a_long_refresh_interval_comes_due_in_spite_of_resyncs(rig: Rig) -> None:
    """Each decision in between once put it off again, so an interval above 10 minutes never ended."""
    rig.declare("ann", "1", refreshInterval="1h")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    due_s = time.monotonic() + 3600  # or a moment before
    rig.publish("ann", "2")
    resync(rig)
    pass_time(rig, due_s - time.monotonic())
    rig.step()
    assert rig.reason("ann") == "Loading"


def test_a_shorter_refresh_interval_counts_from_when_it_is_declared(rig: Rig) -> None:
    rig.declare("ann", "1", refreshInterval="24h")
    rig.until_ready(Server(rig.engine, "s1"))
    rig.declare("ann", "1", refreshInterval="1m")
    rig.step()
    rig.publish("ann", "2")
    pass_time(rig, 61)
    rig.step()
    assert rig.reason("ann") == "Loading"


def test_a_refresh_that_fails_changes_nothing(rig: Rig) -> None:
    rig.declare("ann", "1", refreshInterval="5m")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    before = rig.everything()
    (rig.path / "ann.joblib").unlink()
    pass_time(rig, 301)
    rig.step()
    assert rig.everything() == before
    rig.publish("ann", "2")
    pass_time(rig, 301)
    rig.step()
    assert rig.reason("ann") == "Loading"


def test_an_artifact_that_comes_late_is_found(rig: Rig) -> None:
    uri = f"file://{rig.path}/late.joblib"
    rig.manifest("late", uri=uri)
    server = Server(rig.engine, "s1")
    rig.step()
    assert rig.reason("late") == "ArtifactNotFound"
    rig.publish("late", "1")
    pass_time(rig, 1)
    rig.until_ready(server)
    assert rig.reason("late") == "Ready"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("pipe", "ArtifactInvalid"),
        ("/dev/zero", "ArtifactInvalid"),
        ("a%00b", "ArtifactInvalid"),
        ("folder", "ArtifactInvalid"),
        ("x" * 300, "ArtifactUnavailable"),
        ("loop", "ArtifactUnavailable"),
    ],
    ids=["pipe", "device", "NUL", "folder", "long", "loop"],
)
def test_a_hostile_artifact_holds_up_nobody(rig: Rig, path: str, reason: str) -> None:
    """Neither one that would be read forever, nor one whose path is not a path."""
    os.mkfifo(rig.path / "pipe")
    (rig.path / "folder").mkdir()
    (rig.path / "loop").symlink_to("loop")
    rig.manifest("bad", uri=f"file://{path if path.startswith('/') else f'{rig.path}/{path}'}")
    rig.declare("good")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    assert rig.reason("good") == "Ready"
    assert rig.reason("bad") == reason


def test_a_store_that_does_not_answer_holds_up_nobody(rig: Rig) -> None:
    """Its own tenant is decided about once it does."""
    answer = threading.Event()
    files = Resolver(no_s3, ANYWHERE)

    def slow(source: ModelSource) -> ModelId:
        if source.uri.endswith("slow.joblib"):
            answer.wait()
        return files(source)

    rig.resolve = slow
    rig.declare("slow")
    rig.declare("good")
    server = Server(rig.engine, "s1")
    for _ in range(4):
        rig.controller.step(rig.listing())
        server.follow()
        server.load()
        server.follow()
    assert rig.reason("good") == "Ready"
    assert [claim.name for claim in rig.registry.claims()] == ["good"]
    rig.delete("slow")  # and one that is given up meanwhile is not heard of again
    rig.controller.step(rig.listing())
    answer.set()
    rig.declare("slow")
    rig.until_ready(server)
    assert rig.reason("slow") == "Ready"


def test_what_an_older_question_finds_is_not_taken_for_the_newer_ones_answer() -> None:
    """The first look began before the bytes that the second declaration means were there."""
    answers = [threading.Event(), threading.Event()]
    asked: list[ModelId] = []

    def slow(source: ModelSource) -> ModelId:
        asked.append(source.pinned(version_id=f"v{len(asked)}"))
        number = len(asked) - 1
        answers[number].wait()
        return asked[number]

    source = ModelSource(uri="s3://models/ann")
    lookups = Lookups(slow, threads=1)
    lookups.ask("ann", source)
    until(lambda: asked, "the first has begun")
    lookups.ask("ann", source)
    answers[0].set()
    assert lookups.take(wait_s=0.5) == {}
    answers[1].set()
    assert lookups.take(wait_s=60.0) == {"ann": asked[1]}
    assert (len(lookups), "ann" in lookups) == (0, False)
    lookups.close()


def test_a_resolver_that_raises_anything_holds_up_nobody(rig: Rig) -> None:
    files = Resolver(no_s3, ANYWHERE)

    def broken(source: ModelSource) -> ModelId:
        if source.uri.endswith("bad.joblib"):
            raise RuntimeError("a fault of ours")
        return files(source)

    rig.resolve = broken
    rig.declare("bad")
    rig.declare("good")
    rig.until_ready(Server(rig.engine, "s1"))
    assert (rig.reason("good"), rig.reason("bad")) == ("Ready", "ArtifactUnavailable")


def test_a_reconcile_that_raises_holds_up_nobody(rig: Rig) -> None:
    """A fault of ours: here a resolver that returns what no model id can be written of."""
    files = Resolver(no_s3, ANYWHERE)

    def faulty(source: ModelSource) -> ModelId:
        wrong: Any = 42
        return ModelId(source.uri, sha256=wrong) if "bad" in source.uri else files(source)

    rig.resolve = faulty
    rig.declare("bad")
    rig.declare("good")
    server = Server(rig.engine, "s1")
    rig.until_ready(server)
    assert (rig.reason("good"), rig.reason("bad")) == ("Ready", "InternalError")
    rig.resolve = files
    rig.declare("bad")
    rig.until_ready(server)
    assert rig.reason("bad") == "Ready"
