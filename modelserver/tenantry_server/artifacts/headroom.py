"""Memory for loads: what a model is likely to need is held against what there is, before it is read.

Once memory is gone the kernel ends processes, and not necessarily those that are at fault. So a load waits
for others that are under way, and is refused in words where it could never fit.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from tenantry import ModelId
from tenantry.errors import MemoryTaken, ModelTooLarge
from tenantry_server.artifacts.needs import GUESSED, Needs

_SMALL_BYTES = GUESSED * (16 << 20)  # a load that always fits somewhere
_KEPT_BYTES = 64 << 20  # for everything else that a server does
_CGROUPS = Path("/sys/fs/cgroup")


class Headroom:
    """Admits loads by their need of memory.

    Args:
        at_once_bytes: of artifacts that are loaded at the same time, where nothing else is known of their
            needs; a larger one is loaded alone.
        evictable_bytes: returns what the model cache could give up.
        available_bytes: returns what this process may still take; None: nobody knows.
        needs: what loads take.
    """

    def __init__(
        self,
        *,
        at_once_bytes: int,
        evictable_bytes: Callable[[], int],
        available_bytes: "Callable[[], int | None] | None" = None,
        needs: Needs | None = None,
    ) -> None:
        self._at_once_bytes = GUESSED * at_once_bytes
        self._needs = needs or Needs()
        self._evictable_bytes = evictable_bytes
        self._available_bytes = available_bytes or machine_available_bytes
        self._most_bytes = self._available_bytes() or 0  # that there ever was, as far as was seen
        self._changed = threading.Condition()
        self._loading: dict[object, int] = {}  # what each load takes

    def is_small(self, exact: ModelId) -> bool:
        """Return whether a small artifact makes a small model, as far as is known."""
        return self._needs.bytes_of(exact, 0) < _SMALL_BYTES

    @contextmanager
    def load(self, exact: ModelId) -> Iterator[None]:
        """Make `admit` hold for reads in this block, which is one load."""
        mine = object()

        def admit(size_bytes: int) -> None:
            self._admit(mine, exact, size_bytes)

        token = _admit.set(admit)
        try:
            yield
        finally:
            _admit.reset(token)
            with self._changed:
                if self._loading.pop(mine, None) is not None:
                    self._changed.notify_all()

    def _admit(self, mine: object, exact: ModelId, size_bytes: int) -> None:
        needed_bytes = self._needs.bytes_of(exact, size_bytes)
        if needed_bytes < _SMALL_BYTES:
            return
        with self._changed:
            self._loading.pop(mine, None)  # a second source of the same artifact
            self._changed.wait_for(
                lambda: (
                    not self._loading or sum(self._loading.values()) + needed_bytes <= self._at_once_bytes
                )
            )
            self._refuse_what_does_not_fit(exact.uri, needed_bytes)
            self._loading[mine] = needed_bytes

    def _refuse_what_does_not_fit(self, uri: str, needed_bytes: int) -> None:
        available_bytes = self._available_bytes()
        if available_bytes is None:
            return
        needed_bytes += sum(self._loading.values()) + _KEPT_BYTES
        if needed_bytes <= available_bytes:
            return
        # What a load that just ended held may not have been given back yet: that is no reason to give up.
        self._most_bytes = max(self._most_bytes, available_bytes + self._evictable_bytes())
        if not self._loading and needed_bytes > self._most_bytes:
            raise ModelTooLarge.to_load(uri, needed_bytes, available_bytes)
        raise MemoryTaken(uri, needed_bytes, available_bytes)


_admit: ContextVar[Callable[[int], None]] = ContextVar("admit", default=lambda _: None)


def admit(size_bytes: int) -> None:
    """Wait until an artifact of this size may be read into memory; called before it is.

    Raises:
        ModelTooLarge: it never may, on this machine.
        MemoryTaken: others have the memory now.
    """
    _admit.get()(size_bytes)


class NotSmall(Exception):
    """An artifact of so many bytes is larger than those that are read in this block."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"{size_bytes} bytes")
        self.size_bytes = size_bytes


@contextmanager
def at_most(most_bytes: int) -> Iterator[None]:
    """Let `admit` refuse in this block what is larger.

    Raises:
        NotSmall: by `admit`, before the artifact is read.
    """
    outer = _admit.get()

    def admit_small(size_bytes: int) -> None:
        if size_bytes > most_bytes:
            raise NotSmall(size_bytes)
        outer(size_bytes)

    token = _admit.set(admit_small)
    try:
        yield
    finally:
        _admit.reset(token)


def machine_available_bytes() -> int | None:
    """Return what this process and its children may take: of the machine, and of its control group."""
    found = [_machine_bytes(), _cgroup_bytes()]
    known = [each for each in found if each is not None]
    return min(known) if known else None


def kills() -> int:
    """Return how many processes of this control group the kernel ended for want of memory."""
    for events in (_own_group() / "memory.events", Path("/proc/vmstat")):
        with suppress(OSError, ValueError, KeyError):
            return int(dict(line.split() for line in events.read_text().splitlines())["oom_kill"])
    return 0


def _own_group() -> Path:
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                return _CGROUPS / line.removeprefix("0::").lstrip("/")
    return _CGROUPS


def _machine_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    sizes = dict(line.split(":", 1) for line in lines)
    return int(sizes["MemAvailable"].split()[0]) << 10 if "MemAvailable" in sizes else None


def _cgroup_bytes() -> int | None:
    """Return what is left below the strictest limit from this process's control group to the root."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    left: list[int] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, names = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif controllers == "memory":
            folder = _CGROUPS / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = folder / path.lstrip("/")
        groups = [each for each in (own, *own.parents) if each.is_relative_to(folder)]
        left += [size for size in (_left_bytes(group, *names) for group in groups) if size is not None]
    return min(left) if left else None


def _left_bytes(group: Path, limit: str, used: str, given_back: str) -> int | None:
    try:
        limit_bytes = int((group / limit).read_text())  # "max" is not a number: there is no limit
        used_bytes = int((group / used).read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return max(0, limit_bytes - used_bytes + int(stat.get(given_back, 0)))
