"""Puts what was prepared in place, group by group: all that waits is flushed to the disk together.

A thread of its own, so that a generator that trains for minutes between two items delays nothing, and a
group is as large as what came while the one before was flushed.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenantry import TenantModel
from tenantry_server.publishing.batch.journal import Journal
from tenantry_server.publishing.batch.staging import Staging

_GATHERED_S = 0.03  # a flush takes milliseconds, of which each file of a group has its part
_MOST_WAITING = 256
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One prepared item.

    Attributes:
        number, user_id: of the item.
        declared: its TenantModel.
        files: put in place in this order: a card, a signature, the artifact, and last the manifest. Of each
            the folder that all of its kind lie in, its path, and its bytes. What lies in S3 is not here.
        key: for the journal.
    """

    number: int
    user_id: str
    declared: TenantModel
    files: tuple[tuple[Path, Path, bytes], ...]
    key: Sequence[str]

    @property
    def size_bytes(self) -> int:
        """How much is written."""
        return sum(len(data) for _, _, data in self.files)


class Committer:
    """The thread, and what waits for it.

    Args:
        journal: notes what is in place.
        threads: flush files where a file system can't be flushed whole.
        ended: called with each entry, and None or why it is not in place; in this thread.
    """

    def __init__(
        self,
        journal: Journal,
        threads: Executor,
        ended: Callable[[Entry, Exception | None], object],
    ) -> None:
        self._journal, self._threads, self._ended = journal, threads, ended
        self._stagings: dict[Path, Staging] = {}
        self._changed = threading.Condition()
        self._waiting: list[Entry] = []
        self._waiting_bytes = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="publish-commit", daemon=True)
        self._thread.start()

    def add(self, entry: Entry) -> None:
        """Hand over what was prepared; waits while as much as a group may have is waiting."""
        with self._changed:
            while self._is_full():
                self._changed.wait()
            self._waiting.append(entry)
            self._waiting_bytes += entry.size_bytes
            if len(self._waiting) == 1 or self._is_full():
                self._changed.notify_all()

    def close(self) -> None:
        """Put the rest in place, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        for staging in self._stagings.values():
            staging.close()

    def _is_full(self) -> bool:
        return len(self._waiting) >= _MOST_WAITING or self._waiting_bytes >= _MOST_BYTES

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                self._changed.wait_for(lambda: self._is_full() or self._closing, _GATHERED_S)
                group, self._waiting, self._waiting_bytes = self._waiting, [], 0
                self._changed.notify_all()
            if not group:
                return
            self._commit(group)

    def _commit(self, group: Sequence[Entry]) -> None:
        staged: list[tuple[Entry, list[tuple[Staging, str, Path]]]] = []
        for entry in group:
            try:
                staged.append((entry, self._written(entry)))
            except Exception as error:
                self._ended(entry, error)
        try:
            self._flush([one for _, of_entry in staged for one in of_entry])
        except Exception as error:
            for entry, of_entry in staged:
                _drop(of_entry)
                self._ended(entry, error)
            return
        done = [entry for entry, of_entry in staged if self._put(entry, of_entry)]
        with suppress(OSError):  # then the next run finds the manifests
            self._journal.add([entry.key for entry in done])
        for entry in done:
            self._ended(entry, None)

    def _written(self, entry: Entry) -> list[tuple[Staging, str, Path]]:
        written: list[tuple[Staging, str, Path]] = []
        try:
            for folder, path, data in entry.files:
                staging = self._staging(folder)
                written.append((staging, staging.write(data), path))
        except BaseException:
            _drop(written)
            raise
        return written

    def _staging(self, root: Path) -> Staging:
        if root not in self._stagings:
            self._stagings[root] = Staging(root)
        return self._stagings[root]

    def _flush(self, files: Sequence[tuple[Staging, str, Path]]) -> None:
        of_disk = {staging.device: staging for staging, _, _ in files}
        for device, staging in of_disk.items():
            staging.flush([path for owner, path, _ in files if owner.device == device], self._threads)

    def _put(self, entry: Entry, files: Sequence[tuple[Staging, str, Path]]) -> bool:
        for index, (staging, path, place) in enumerate(files):
            try:
                staging.put(path, place)
            except Exception as error:
                _drop(files[index + 1 :])
                self._ended(entry, error)
                return False
        return True


def _drop(files: Sequence[tuple[Staging, str, Path]]) -> None:
    for staging, path, _ in files:
        staging.drop([path])
