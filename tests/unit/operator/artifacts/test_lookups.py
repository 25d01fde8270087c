"""Lookups in stores that hang, and files that have no end."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry import ModelId, errors
from tenantry.manifest.spec import ModelSource
from tenantry.stores.file_roots import ANYWHERE, FileRoots
from tenantry_operator.artifacts.lookups import Found, Lookups
from tenantry_operator.artifacts.resolver import Resolver
from tests.support.waiting import until


class Store:
    """Answers, or hangs for names with `hung` in them until it is let go."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def __call__(self, source: ModelSource) -> ModelId:
        self.asked.append(source.uri)
        if "hung" in source.uri:
            self.released.wait()
        return source.pinned(etag="1")


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store()
    yield made
    made.released.set()


def source(name: str) -> ModelSource:
    return ModelSource(uri=f"s3://bucket/{name}")


def answers(lookups: Lookups, *keys: str) -> dict[str, Found]:
    found: dict[str, Found] = {}

    def all_there() -> bool:
        found.update(lookups.take(wait_s=0.01))
        return set(keys) <= set(found)

    until(all_there, f"{keys} are answered")
    return found


def test_lookups_that_hang_are_answered_for_and_stop_no_other(store: Store) -> None:
    lookups = Lookups(store, 2, timeout_s=0.05)
    for key in ("hung-1", "hung-2", "good"):
        lookups.ask(key, source(key))
    found = answers(lookups, "hung-1", "hung-2", "good")
    assert isinstance(found["good"], ModelId)
    for key in ("hung-1", "hung-2"):
        assert isinstance(found[key], errors.ArtifactUnavailable)
        assert "no answer within 0.05 s" in str(found[key])
        assert key not in lookups


def test_a_late_answer_is_dropped(store: Store) -> None:
    lookups = Lookups(store, 1, timeout_s=0.05)
    lookups.ask("a", source("hung"))
    assert isinstance(answers(lookups, "a")["a"], errors.ArtifactUnavailable)
    store.released.set()
    lookups.ask("b", source("good"))
    assert set(answers(lookups, "b")) == {"b"}


def test_threads_that_hang_are_bounded(store: Store) -> None:
    """A store that hangs for good must not take a thread for each try."""
    lookups = Lookups(store, 1, timeout_s=0.01)
    for number in range(10):
        lookups.ask(f"{number}", source(f"hung-{number}"))
    answers(lookups, "0", "1", "2", "3", "4")
    for _ in range(20):
        lookups.take(wait_s=0.01)
    assert len(store.asked) == 5
    store.released.set()
    answers(lookups, "9")
    assert len(store.asked) == 10


def test_each_key_is_asked_once_at_a_time(store: Store) -> None:
    lookups = Lookups(store, 1)
    lookups.ask("first", source("hung"))
    for _ in range(3):
        lookups.ask("a", source("a"))
    lookups.forget("a")
    lookups.ask("b", source("b"))
    store.released.set()
    assert set(answers(lookups, "first", "b")) == {"first", "b"}
    assert store.asked == ["s3://bucket/hung", "s3://bucket/b"]


def no_s3(source: ModelSource) -> ModelId:
    raise AssertionError(source)


@pytest.mark.parametrize("name", ["pagemap", "mem", "clear_refs"])
def test_files_of_the_kernel_end_too(name: str) -> None:
    """They say that they are regular, have no size, and some never end."""
    path = Path("/proc/self") / name
    if not path.exists():
        pytest.skip(f"this kernel has no {path}")
    with pytest.raises(errors.ArtifactError):
        Resolver(no_s3, ANYWHERE)(ModelSource(uri=f"file://{path}"))


def test_a_file_over_the_bound_is_not_hashed(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # without taking any room
    with pytest.raises(errors.ArtifactTooLarge):
        Resolver(no_s3, FileRoots([tmp_path]))(ModelSource(uri=path.as_uri()))


def test_hashing_has_a_deadline(tmp_path: Path) -> None:
    path = tmp_path / "slow"
    path.write_bytes(bytes(3 << 20))
    resolve = Resolver(no_s3, FileRoots([tmp_path]), timeout_s=0.0)
    with pytest.raises(errors.ArtifactUnavailable, match="not read within 0 s"):
        resolve(ModelSource(uri=path.as_uri()))
