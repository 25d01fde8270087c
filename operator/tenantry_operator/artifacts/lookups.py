"""Asks artifact stores, in threads of its own: a slow store delays only TenantModels that need it."""

import queue
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import structlog

from tenantry import ModelId
from tenantry.errors import ArtifactError, ArtifactUnavailable
from tenantry.logs import OnChange
from tenantry.spec import ModelSource
from tenantry_operator.artifacts.resolver import Resolve

log = structlog.get_logger(__name__)

Found = ModelId | ArtifactError
_HUNG_FOR_EACH = 4  # threads that hang, for each that may work, before no more are begun


@dataclass(slots=True, eq=False)
class _Lookup:
    key: str
    source: ModelSource
    began_s: float = field(default=0.0)


class Lookups:
    """Lookups under way, at most one that counts for each key.

    A lookup that takes too long is answered for, and its thread no longer counts among those that may ask
    at once: a store that hangs must not stop the lookups in others.

    Args:
        resolve: asks the artifact store.
        threads: how many may ask at once.
        timeout_s: for one lookup.
    """

    def __init__(self, resolve: Resolve, threads: int, *, timeout_s: float = 30.0) -> None:
        self._resolve = resolve
        self._threads = threads
        self._timeout_s = timeout_s
        self._asked: dict[str, _Lookup] = {}
        self._hanging = OnChange(log)
        self._answers: queue.SimpleQueue[tuple[_Lookup, Found]] = queue.SimpleQueue()
        # What follows is shared with the threads.
        self._lock = threading.Lock()
        self._waiting: deque[_Lookup] = deque()
        self._running: set[_Lookup] = set()
        self._hung: set[_Lookup] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, key: str, source: ModelSource) -> None:
        """Look up now; the answer of an earlier lookup for this key is dropped."""
        lookup = self._asked[key] = _Lookup(key, source)
        with self._lock:
            self._waiting.append(lookup)
        self._begin()

    def forget(self, key: str) -> None:
        """Drop the answer for this key."""
        self._asked.pop(key, None)

    def take(self, *, wait_s: float) -> dict[str, Found]:
        """Return the answers so far; wait up to `wait_s` for all of them."""
        found: dict[str, Found] = {}
        until_s = time.monotonic() + wait_s
        while self._asked:
            try:
                lookup, answer = self._answers.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                break
            self._answer(lookup, answer, found)
        self._give_up_late(found)
        return found

    def close(self) -> None:
        """Start no more lookups."""
        with self._lock:
            self._waiting.clear()

    def _answer(self, lookup: _Lookup, answer: Found, found: dict[str, Found]) -> None:
        if self._asked.get(lookup.key) is lookup:
            del self._asked[lookup.key]
            found[lookup.key] = answer

    def _give_up_late(self, found: dict[str, Found]) -> None:
        late_s = time.monotonic() - self._timeout_s
        with self._lock:
            late = [each for each in self._running if each.began_s < late_s]
            self._running.difference_update(late)
            self._hung.update(late)
            hung = sorted({each.source.uri for each in self._hung})
        for lookup in late:
            problem = f"no answer within {self._timeout_s:g} s"
            self._answer(lookup, ArtifactUnavailable(lookup.source.uri, problem), found)
        if hung:
            self._hanging.warning("lookups hang", uris=hung[:5], count=len(hung))
            self._begin()
        else:
            self._hanging.over("no lookup hangs any longer")

    def _begin(self) -> None:
        """Start threads where lookups wait and fewer than allowed are under way."""
        with self._lock:
            while lookup := self._next():
                # A daemon: one that hangs must not keep the process from ending.
                threading.Thread(target=self._work, args=(lookup,), name="resolve", daemon=True).start()

    def _next(self) -> _Lookup | None:
        """Return the next lookup, which now counts as under way; with the lock held."""
        if len(self._running) >= self._threads or len(self._hung) >= _HUNG_FOR_EACH * self._threads:
            return None
        while self._waiting:
            lookup = self._waiting.popleft()
            if self._asked.get(lookup.key) is lookup:  # else it was forgotten, or asked again since
                lookup.began_s = time.monotonic()
                self._running.add(lookup)
                return lookup
        return None

    def _work(self, lookup: _Lookup | None) -> None:
        while lookup is not None:
            self._answers.put((lookup, self._found(lookup.source)))
            with self._lock:
                self._running.discard(lookup)
                self._hung.discard(lookup)
                lookup = self._next()

    def _found(self, source: ModelSource) -> Found:
        try:
            return self._resolve(source)
        except ArtifactError as error:
            return error
        except Exception as error:
            # A fault of ours, or a setting that the store's client refuses: the others go on.
            log.exception("artifact lookup failed", uri=source.uri)
            return ArtifactUnavailable(source.uri, f"{type(error).__name__}: {error}")
