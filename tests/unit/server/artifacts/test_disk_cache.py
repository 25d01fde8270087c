"""The disk tier: bounded among processes, whole after a kill, and never in the way of an answer."""

import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tenantry import ModelId
from tenantry_server.artifacts import disk_cache as disks
from tenantry_server.artifacts import disk_space
from tenantry_server.artifacts.disk_cache import DiskCache, DiskCachedRepository, key_of
from tenantry_server.artifacts.repositories import ArtifactRepository
from tenantry_server.memory.eviction import bounded_cache
from tenantry_server.memory.model_cache import CachedModelRepository
from tenantry_server.metrics import ServerMetrics
from tests.support.processes.child_process import Child
from tests.support.stores.disk_users import content, key
from tests.support.waiting import until

MIB = 1 << 20
A, B, C = (key(number) for number in range(3))

Open = Callable[..., DiskCache]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a folder, as often as servers would."""
    made: list[DiskCache] = []

    def another(folder: Path = tmp_path, max_bytes: int = 64 * MIB) -> DiskCache:
        made.append(DiskCache(folder, max_bytes=max_bytes))
        made[-1].flush()
        return made[-1]

    yield another
    for each in made:
        each.close()


@pytest.fixture
def disk(opened: Open) -> DiskCache:
    return opened()


def keep(disk: DiskCache, *names: str) -> None:
    """Written, or given up."""
    for name in names:
        disk.keep(name, content(name))
    disk.flush()


def files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.glob("v1/??/*")}


def used_bytes(folder: Path) -> int:
    total = 0
    for path in files(folder).values():
        with suppress(FileNotFoundError):
            total += max(path.stat().st_size, path.stat().st_blocks * 512)
    return total


def aged(path: Path, minutes: float) -> None:
    then = time.time() - minutes * 60
    os.utime(path, (then, then))


class Source(ArtifactRepository):
    """Has everything, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def read(self, model_id: ModelId) -> bytes:
        self.asked += 1
        return str(model_id.uri).encode()


# What is kept


def test_the_source_is_asked_once_for_bytes_however_they_are_used(disk: DiskCache) -> None:
    source = Source()
    repository = DiskCachedRepository(source, disk)
    for usage in ({}, {"method": "predict_proba"}, {"compile": "off"}, {"format": "sklearn"}):
        assert repository.read(ModelId("s3://b/k", etag="e", **usage)) == b"s3://b/k"
        disk.flush()
    assert source.asked == 1


@pytest.mark.parametrize(
    "other",
    [
        ModelId("s3://b/k2", etag="e"),
        ModelId("s3://b/k", etag="e2"),
        ModelId("s3://b/k", etag="e", version_id="v"),
        ModelId("s3://b/k", sha256="e"),
        ModelId("s3://b/k", version_id="e"),
    ],
    ids=str,
)
def test_whatever_names_other_bytes_has_another_key(other: ModelId) -> None:
    assert key_of(other) != key_of(ModelId("s3://b/k", etag="e"))


@pytest.mark.parametrize("version_id", [None, "null"])
def test_what_pins_no_bytes_is_never_kept(disk: DiskCache, tmp_path: Path, version_id: str | None) -> None:
    """It may be other bytes the next time."""
    source = Source()
    for _ in range(2):
        DiskCachedRepository(source, disk).read(ModelId("s3://b/k", version_id=version_id))
        disk.flush()
    assert (source.asked, files(tmp_path)) == (2, {})


def test_bytes_with_another_digest_than_the_pinned_are_not_kept(disk: DiskCache, tmp_path: Path) -> None:
    """Else the mistake would outlive its being put right at the source."""
    repository = DiskCachedRepository(Source(), disk)
    repository.read(ModelId("s3://b/k", sha256="0" * 64))
    repository.read(ModelId("s3://b/k", sha256=hashlib.sha256(b"s3://b/k").hexdigest()))
    disk.flush()
    assert len(files(tmp_path)) == 1


def test_what_one_server_kept_another_reads(opened: Open) -> None:
    keep(opened(), A, B)
    other = opened()
    assert (other.read(A), other.read(B), other.read(C)) == (content(A), content(B), None)


def test_an_empty_artifact_is_one_too(disk: DiskCache) -> None:
    disk.keep(A, b"")
    disk.flush()
    assert disk.read(A) == b""


def test_nobody_else_on_the_machine_reads_them(disk: DiskCache, tmp_path: Path) -> None:
    assert (tmp_path / "v1").stat().st_mode & 0o777 == 0o700


def test_a_disk_that_lags_does_not_fill_the_memory(
    disk: DiskCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disks, "_PENDING_BYTES", len(content(A)))
    slow = threading.Event()
    disk._pool.submit(slow.wait)
    for name in (A, B, C):
        disk.keep(name, content(name))
    slow.set()
    disk.flush()
    assert set(files(tmp_path)) == {A}
    keep(disk, B)
    assert set(files(tmp_path)) == {A, B}


# Damage


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit": _flip,
    "a flipped bit of the seal": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?"),
    "cut short": lambda path: os.truncate(path, 1000),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "shorter than a seal": lambda path: os.truncate(path, 5),
    "empty": lambda path: os.truncate(path, 0),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "another artifact's": lambda path: path.write_bytes(files(path.parents[2])[B].read_bytes()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_removed_and_told_of_once(
    disk: DiskCache, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    keep(disk, A, B)
    damage(files(tmp_path)[A])
    with capture_logs() as logs:
        assert disk.read(A) is None
        assert disk.read(A) is None
    assert set(files(tmp_path)) == {B}
    assert ["damaged" in line["event"] for line in logs] == [True]
    assert (disk.counts.damaged, disk.counts.misses, disk.counts.hits) == (1, 2, 0)
    keep(disk, A)
    assert disk.read(A) == content(A)


# The bound


def test_what_was_used_least_recently_goes_first(opened: Open, tmp_path: Path) -> None:
    names = [key(number) for number in range(40)]
    keep(opened(), *names)
    random.Random(5).shuffle(names)  # noqa: S311 - an order that is the same each time
    for minutes, name in enumerate(names):
        aged(files(tmp_path)[name], minutes + 1)
    half_bytes = used_bytes(tmp_path) // 2
    left_bytes, removed = disk_space.shrink(tmp_path / "v1", half_bytes)
    left = files(tmp_path)
    assert (len(left), used_bytes(tmp_path)) == (40 - removed, left_bytes)
    oldest_left = max(names.index(name) for name in left)
    gone_newer = [name for name in names[:oldest_left] if name not in left]
    assert gone_newer == []
    assert half_bytes - max(map(len, map(content, names))) <= left_bytes <= half_bytes


def test_of_the_same_minute_no_more_goes_than_has_to(opened: Open, tmp_path: Path) -> None:
    names = [key(number) for number in range(40)]
    keep(opened(), *names)
    for path in files(tmp_path).values():
        os.utime(path, (6000, 6000))
    half_bytes = used_bytes(tmp_path) // 2
    left_bytes, _ = disk_space.shrink(tmp_path / "v1", half_bytes)
    assert left_bytes == used_bytes(tmp_path)
    assert half_bytes - max(map(len, map(content, names))) <= left_bytes <= half_bytes


def test_to_read_is_to_use_but_not_each_time_a_write(disk: DiskCache, tmp_path: Path) -> None:
    keep(disk, A, B)
    a, b = files(tmp_path)[A], files(tmp_path)[B]
    aged(a, 0.5)
    aged(b, 1.5)
    before = a.stat().st_mtime
    disk.read(A)
    disk.read(B)
    assert a.stat().st_mtime == before
    assert b.stat().st_mtime > before


def test_the_bound_holds_whatever_comes(opened: Open, tmp_path: Path) -> None:
    disk = opened(max_bytes=MIB)
    for number in range(100):
        keep(disk, key(number))
        assert used_bytes(tmp_path) <= MIB
        assert disk.used_bytes <= MIB
    assert disk.counts.evictions > 50
    assert used_bytes(tmp_path) > MIB / 4


def test_what_is_larger_than_the_bound_is_not_kept_and_nothing_goes(opened: Open, tmp_path: Path) -> None:
    disk = opened(max_bytes=MIB)
    keep(disk, A)
    disk.keep(B, bytes(2 * MIB))
    disk.flush()
    assert set(files(tmp_path)) == {A}


def test_a_smaller_bound_is_in_force_at_the_start(opened: Open, tmp_path: Path) -> None:
    keep(opened(), *(key(number) for number in range(40)))
    assert used_bytes(tmp_path) > MIB
    opened(max_bytes=MIB).flush()
    assert used_bytes(tmp_path) <= MIB


def test_while_another_makes_room_nobody_waits(opened: Open, tmp_path: Path) -> None:
    """It may have been paused in the middle. Little is written meanwhile, and nothing large."""
    disk = opened(max_bytes=512 * MIB)
    with disk_space.alone(tmp_path / "v1" / "lock") as mine:
        assert mine
        for number in range(400):
            disk.keep(f"{number:064x}", bytes(50_000))
            disk.flush()
        disk.keep(A, bytes(50 * MIB))
        disk.flush()
    assert 4 * MIB < used_bytes(tmp_path) <= 8 * MIB
    keep(disk, B)
    assert disk.read(B) == content(B)


# Several processes


@contextmanager
def users(folder: Path, count: int, *, max_bytes: int, keys: int, rounds: int) -> Iterator[Child]:
    """Processes that use a folder; each that is killed is replaced by another. Ended with the block."""
    argv = [sys.executable, "-m", "tests.support.stores.disk_users", str(folder)]
    argv += map(str, (count, max_bytes, keys, rounds))
    child = Child(argv, log=folder / "log", env=os.environ)
    try:
        yield child
    finally:
        child.stop(grace_s=5)


def said(folder: Path) -> list[dict[str, int]]:
    """What the processes wrote so far."""
    lines = (folder / "log").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def test_processes_share_a_small_folder(tmp_path: Path) -> None:
    """Each reads while others remove and write the same: every answer is right, the bound holds."""
    most_bytes = 0
    with users(tmp_path, 3, max_bytes=2 * MIB, keys=60, rounds=15) as child:
        while child.running:
            most_bytes = max(most_bytes, used_bytes(tmp_path))
            time.sleep(0.005)  # between looks; nothing is waited for
    ends = [line for line in said(tmp_path) if "hits" in line]
    assert len(ends) == 3
    assert all(line[what] == 0 for line in ends for what in ("wrong", "damaged", "failures"))
    assert all(line["hits"] > 0 for line in ends)
    assert sum(line["evictions"] for line in ends) > 0
    assert MIB / 2 < most_bytes <= 2 * MIB


def kill_writers(folder: Path, killed: set[int], *, until_killed: int) -> None:
    log = folder / "log"
    log.unlink(missing_ok=True)  # it names processes of an earlier call, which are gone
    with users(folder, 3, max_bytes=8 * MIB, keys=500, rounds=10_000):
        while len(killed) < until_killed:
            alive = until(
                lambda: [s["pid"] for s in said(folder) if s["pid"] not in killed], "one more writes"
            )
            until(lambda: any((folder / "v1" / "new").iterdir()), "one is in the middle", every_s=0.0001)
            os.kill(alive[-1], signal.SIGKILL)
            killed.add(alive[-1])


def test_killed_at_any_point_it_leaves_nothing_that_is_wrong(opened: Open, tmp_path: Path) -> None:
    """`kill -9`, each time at another moment of a write."""
    new = tmp_path / "v1" / "new"
    killed: set[int] = set()
    for most in range(20, 400, 20):  # on a busy machine no kill of a round may hit a write
        kill_writers(tmp_path, killed, until_killed=most)
        if any(new.iterdir()):
            break
    disk = opened(max_bytes=8 * MIB)
    disk.flush()  # it makes room as it opens
    names = set(files(tmp_path))
    assert len(names) > 5
    for name in names:
        assert disk.read(name) == content(name)
    assert disk.counts.damaged == 0
    assert list(new.iterdir()) != []
    for left in new.iterdir():
        aged(left, 2)
    opened(max_bytes=8 * MIB).flush()
    assert list(new.iterdir()) == []
    with disk_space.alone(tmp_path / "v1" / "lock") as mine:
        assert mine


def test_only_what_nobody_writes_any_more_is_swept(tmp_path: Path) -> None:
    for name in ("left", "young", "written"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("left", "written"):
        aged(tmp_path / name, 2)
    with (tmp_path / "written").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert disk_space.remove_abandoned(tmp_path, older_than_s=60, now_s=time.time()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"young", "written"}


# Disks that refuse


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A file system of its own there, where this process may mount one."""
    folder.mkdir(exist_ok=True)
    done = run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder))
    if done.returncode:
        pytest.skip(f"can't mount a file system: {done.stderr.strip()}")
    try:
        yield
    finally:
        assert run("umount", "--lazy", str(folder)).returncode == 0


def run(*argv: str) -> "subprocess.CompletedProcess[str]":
    argv = ("/usr/bin/env", *argv)
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def events(logs: Sequence[Mapping[str, object]]) -> list[object]:
    return [line["event"] for line in logs]


def test_a_full_disk_is_told_of_once_and_costs_no_answer(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    source = Source()
    with mounted(small, "size=256k"), capture_logs() as logs:
        disk = opened(small)
        repository = DiskCachedRepository(source, disk)
        exact = ModelId("s3://b/k", etag="e")
        assert repository.read(exact) == repository.read(exact) == b"s3://b/k"
        disk.flush()
        (small / "somebody's").write_bytes(bytes(200 * 1024))
        for _ in range(2):
            monkeypatch.setattr(disk, "_paused_until_s", 0.0)
            disk.keep(A, bytes(MIB))
            disk.flush()
        assert events(logs) == ["disk cache can't write; going on without it"]
        assert "No space left" in str(logs[0]["error"])
        assert list((small / "v1" / "new").iterdir()) == []
        asked = source.asked
        assert repository.read(exact) == b"s3://b/k"  # what is there goes on answering
        assert source.asked == asked
        other = ModelId("s3://b/other", etag="e")
        for _ in range(2):
            assert repository.read(other) == b"s3://b/other"  # not even tried to keep, for a minute
            disk.flush()
        assert source.asked == asked + 2
        (small / "somebody's").unlink()
        monkeypatch.setattr(disk, "_paused_until_s", 0.0)
        keep(disk, B)
        assert events(logs)[1:] == ["disk cache writes again"]
        assert disk.read(B) == content(B)


def test_a_read_only_disk_is_read(opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    with mounted(folder, "size=4m"):
        keep(opened(folder), A, B)
        _flip(files(folder)[B])
        aged(files(folder)[A], 5)
        assert run("mount", "-o", "remount,ro", str(folder)).returncode == 0
        with capture_logs() as logs:
            disk = opened(folder)
            keep(disk, C)
            assert (disk.read(A), disk.read(B), disk.read(C)) == (content(A), None, None)
        assert len([line for line in logs if "can't write" in str(line["event"])]) == 1
        assert "Read-only" in str(logs[0]["error"])


def test_a_folder_that_can_not_be_made_costs_no_answer(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with capture_logs() as logs:
        disk = opened(tmp_path / "file" / "cache")
        repository = DiskCachedRepository(Source(), disk)
        for _ in range(2):
            assert repository.read(ModelId("s3://b/k", etag="e")) == b"s3://b/k"
            disk.flush()
    assert events(logs).count("disk cache can't write; going on without it") == 1


def test_a_folder_that_somebody_cleaned_up_is_made_again(disk: DiskCache, tmp_path: Path) -> None:
    keep(disk, A)
    (tmp_path / "v1").rename(tmp_path / "away")
    assert disk.read(A) is None
    keep(disk, A)
    assert disk.read(A) == content(A)


def test_what_it_did_is_in_the_metrics(disk: DiskCache, tmp_path: Path) -> None:
    keep(disk, A, B)
    for name in (A, A, B, C):
        disk.read(name)
    _flip(files(tmp_path)[A])
    disk.read(A)
    models = CachedModelRepository(Source(), bounded_cache(1))
    text = ServerMetrics(models, disk).text().decode()
    for line in (
        "tenantry_disk_hits_total 3.0",
        "tenantry_disk_misses_total 2.0",
        "tenantry_disk_damaged_total 1.0",
        "tenantry_disk_evictions_total 0.0",
        "tenantry_disk_failures_total 0.0",
        "tenantry_disk_capacity_bytes 6.7108864e+07",
    ):
        assert line in text
    assert "tenantry_disk_bytes " in text
