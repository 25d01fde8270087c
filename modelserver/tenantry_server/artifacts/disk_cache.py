"""Artifacts on this node's disk, below the cache in memory: one folder, shared by the servers of a node.

Nothing is believed of it: each read checks a digest, and a process may be killed at any point. Nothing
depends on it: where the disk is full, read-only or broken, models come from their source as if there were
none.

    v1/lock          held (flock) by the one server that makes room
    v1/new/…         being written, and locked by its writer; one without a lock was left behind
    v1/ab/abcd…      an artifact, and after it the 32 bytes of its seal
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from tenantry import ModelId
from tenantry_server.artifacts import disk_space, headroom
from tenantry_server.artifacts.kept_signatures import signature_of
from tenantry_server.artifacts.repositories import ArtifactRepository

log = structlog.get_logger(__name__)

_SEAL_BYTES = 32
_TOUCH_EVERY_S = 60.0  # the order of use need be no finer, and each touch is a write
_PENDING_BYTES = 64 << 20  # of memory; what comes while the disk lags is read from its source again
_PAUSE_S = 60.0  # after a write that failed: to go on trying fills no less of a full disk
_ABANDONED_S = 60.0
# Room is made down to 90 % of the bound, and a server writes at most twice this share of it between two
# looks at what others wrote: so six servers together stay below the bound.
_LOW_WATER = 0.9
_SHARE = 1 / 128


class DiskCachedRepository(ArtifactRepository):
    """Reads artifacts of another repository from the disk where they are there, and keeps them there.

    Args:
        source: where artifacts come from; reading from it must be what is worth saving.
        disk: where they are kept. An id that pins no exact bytes always goes to the source.
    """

    def __init__(self, source: ArtifactRepository, disk: "DiskCache") -> None:
        self._source = source
        self._disk = disk

    def read(self, model_id: ModelId) -> bytes:
        """From the disk, or from the source."""
        key = key_of(model_id)
        if key is None:
            return self._source.read(model_id)
        data = self._disk.read(key)
        if data is None:
            data = self._source.read(model_id)
            self._disk.keep(key, data, sha256=model_id.sha256)
        return data

    def read_signature(self, model_id: ModelId) -> bytes:
        """From the source, as it may have been replaced; from the disk where the source does not answer."""
        return signature_of(model_id, self._source, self._disk, key_of(model_id))


def key_of(model_id: ModelId) -> str | None:
    """A name for the bytes alone, however they are used; None where the id pins no exact bytes.

    Example:
        >>> pinned = ModelId("s3://models/a", etag="1b2c", method="predict_proba")
        >>> key_of(pinned) == key_of(ModelId("s3://models/a", etag="1b2c"))
        True
        >>> key_of(ModelId("s3://models/a", version_id="null"))  # a bucket that keeps no versions
    """
    version_id = None if model_id.version_id == "null" else model_id.version_id
    if not (version_id or model_id.etag or model_id.sha256):
        return None
    bare = ModelId(model_id.uri, model_id.version_id, model_id.etag, model_id.sha256)
    return hashlib.sha256(str(bare).encode()).hexdigest()


@dataclass(slots=True)
class DiskCounts:
    """What this process did with the folder.

    Attributes:
        hits: artifacts read from it.
        misses: artifacts that were not there, or not as they were written.
        damaged: files whose bytes were not those that were written.
        evictions: files removed to make room.
        failures: reads and writes that the disk refused.
    """

    hits: int = 0
    misses: int = 0
    damaged: int = 0
    evictions: int = 0
    failures: int = 0


class DiskCache:
    """Bytes by key, in a folder that other processes use at the same time; safe to use from threads.

    Writes happen later, in a thread of its own: nobody waits for a disk to sync. What was used least
    recently goes first. No method raises because of the disk.

    Args:
        folder: made where it is missing.
        max_bytes: of all files together, as they lie on the disk.

    Example:
        >>> disk = DiskCache(getfixture("tmp_path"), max_bytes=1 << 20)
        >>> disk.keep("ab" * 32, b"an artifact")
        >>> disk.flush()
        >>> disk.read("ab" * 32), disk.read("cd" * 32)
        (b'an artifact', None)
        >>> disk.close()
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._root = folder / "v1"
        self._new = self._root / "new"
        self.capacity_bytes = max_bytes
        self.counts = DiskCounts()
        self._lock = threading.Lock()
        self._pending_bytes = 0
        # What follows is the writing thread's own.
        self._seen_bytes = 0
        self._written_bytes = 0
        self._paused_until_s = float("-inf")
        self._refused = False
        self._pool = ThreadPoolExecutor(1, "disk")
        self._pool.submit(self._unless_refused, self._open)

    def read(self, key: str) -> bytes | None:
        """What was kept under this key, whole and unchanged; None where that is not there."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                size_bytes = max(found.st_size - _SEAL_BYTES, 0)
                headroom.admit(size_bytes)
                data = file.read(size_bytes)
                whole = file.read() == _seal(key, data)
                if whole and time.time() - found.st_mtime > _TOUCH_EVERY_S:
                    with suppress(OSError):  # read-only
                        os.utime(file.fileno())
        except FileNotFoundError:
            self._count(misses=1)
            return None
        except OSError as error:
            self._count(misses=1, failures=1)
            log.warning("disk cache can't read", path=str(path), error=str(error))
            return None
        if whole:
            self._count(hits=1)
            return data
        self._count(misses=1, damaged=1)
        log.warning("disk cache had a damaged file; it is read from its source again", path=str(path))
        with suppress(OSError):
            path.unlink()
        return None

    def keep(self, key: str, data: bytes, *, sha256: str | None = None) -> None:
        """Write these bytes soon, unless the disk lags or refuses, or they are too many.

        Args:
            key: 64 hexadecimal digits.
            sha256: of the bytes as they should be; others are not kept.
        """
        with self._lock:
            if self._pending_bytes and self._pending_bytes + len(data) > _PENDING_BYTES:
                return
            self._pending_bytes += len(data)

        def write() -> None:
            try:
                if sha256 in (None, hashlib.sha256(data).hexdigest()):
                    self._unless_refused(lambda: self._write(key, data))
            finally:
                with self._lock:
                    self._pending_bytes -= len(data)

        self._pool.submit(write)

    def flush(self) -> None:
        """Return once everything that was to be kept is written, or given up."""
        self._pool.submit(lambda: None).result()

    def close(self) -> None:
        """Write no more; a write under way ends."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @property
    def used_bytes(self) -> int:
        """What all servers had there when this one looked last, and what it has written since."""
        return self._seen_bytes + self._written_bytes

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / key

    def _count(self, **more: int) -> None:
        with self._lock:
            for name, count in more.items():
                setattr(self.counts, name, getattr(self.counts, name) + count)

    # In the writing thread

    def _unless_refused(self, work: Callable[[], None]) -> None:
        """Call it; log a disk that refuses once, and leave it alone for a while."""
        if time.monotonic() < self._paused_until_s:
            return
        try:
            work()
        except OSError as error:
            self._paused_until_s = time.monotonic() + _PAUSE_S
            self._count(failures=1)
            if not self._refused:
                log.warning("disk cache can't write; going on without it", error=str(error))
            self._refused = True
        else:
            if self._refused:
                log.info("disk cache writes again", folder=str(self._root))
            self._refused = False

    def _open(self) -> None:
        self._make_folders()
        with disk_space.alone(self._root / "lock") as mine:
            if mine:
                self._make_room(0)

    def _make_folders(self) -> None:
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)  # each model is its user's own
        self._new.mkdir(exist_ok=True)

    def _write(self, key: str, data: bytes) -> None:
        target = self._path(key)
        if target.exists():  # another server was quicker
            return
        self._make_folders()  # again, as people clean up
        size_bytes = disk_space.blocks_bytes(len(data) + _SEAL_BYTES)
        since_bytes = self._written_bytes + size_bytes
        share_bytes = self.capacity_bytes * _SHARE
        if since_bytes <= share_bytes:
            self._put(target, key, data)
            return
        if size_bytes > self.capacity_bytes * _LOW_WATER:
            return
        with disk_space.alone(self._root / "lock") as mine:
            if mine:
                self._make_room(size_bytes)
                self._put(target, key, data)
        if not mine and since_bytes <= 2 * share_bytes:  # another server makes room just now
            self._put(target, key, data)

    def _put(self, target: Path, key: str, data: bytes) -> None:
        target.parent.mkdir(exist_ok=True)
        new = self._new / uuid4().hex
        try:
            with new.open("xb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed
                file.write(data)
                file.write(_seal(key, data))
                file.flush()
                os.fsync(file.fileno())
                new.replace(target)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
        _sync_folder(target.parent)
        self._written_bytes += disk_space.blocks_bytes(len(data) + _SEAL_BYTES)

    def _make_room(self, size_bytes: int) -> None:
        """Remove what has to go before `size_bytes` come; with the lock held."""
        disk_space.remove_abandoned(self._new, older_than_s=_ABANDONED_S, now_s=time.time())
        limit_bytes = int(self.capacity_bytes * _LOW_WATER) - size_bytes
        self._seen_bytes, removed = disk_space.shrink(self._root, limit_bytes)
        self._written_bytes = 0
        self._count(evictions=removed)


def _seal(key: str, data: bytes) -> bytes:
    """A digest of the bytes and of the name that they belong under."""
    return hashlib.sha256(key.encode() + hashlib.sha256(data).digest()).digest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
