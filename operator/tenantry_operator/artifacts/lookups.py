"""Asks artifact stores, in threads of its own: a slow store delays only TenantModels that need it."""

import queue
import time
from concurrent.futures import Future
from functools import partial

import structlog

from tenantry import ModelId
from tenantry.errors import ArtifactError, ArtifactUnavailable
from tenantry.manifest.spec import ModelSource
from tenantry.processes.logs import OnChange
from tenantry.processes.threads import Threads
from tenantry_operator.artifacts.resolver import Resolve

log = structlog.get_logger(__name__)

Found = ModelId | ArtifactError


class Lookups:
    """Lookups under way, at most one that counts for each key.

    A lookup that takes too long is answered for, and another one gets its place: a store that hangs must
    not stop the lookups in others.

    Args:
        resolve: asks the artifact store.
        threads: how many may ask at once.
        timeout_s: for one lookup.
    """

    def __init__(self, resolve: Resolve, threads: int, *, timeout_s: float = 30.0) -> None:
        self._resolve = resolve
        self._timeout_s = timeout_s
        self._threads = Threads(threads, "resolve", timeout_s=timeout_s, late=TimeoutError)
        self._asked: dict[str, Future[Found]] = {}
        self._hanging = OnChange(log)
        self._answers: queue.SimpleQueue[tuple[str, Future[Found], ModelSource]] = queue.SimpleQueue()

    def __contains__(self, key: str) -> bool:
        return key in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, key: str, source: ModelSource) -> None:
        """Look up now; the answer of an earlier lookup for this key is dropped."""
        self.forget(key)
        asked = self._asked[key] = self._threads.submit(partial(self._found, source))
        asked.add_done_callback(lambda done: self._answers.put((key, done, source)))

    def forget(self, key: str) -> None:
        """Drop the answer for this key."""
        asked = self._asked.pop(key, None)
        if asked is not None:
            asked.cancel()

    def take(self, *, wait_s: float) -> dict[str, Found]:
        """Return the answers so far; wait up to `wait_s` for all of them."""
        found: dict[str, Found] = {}
        until_s = time.monotonic() + wait_s
        while self._asked:
            try:
                key, done, source = self._answers.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                break
            if self._asked.get(key) is done:
                del self._asked[key]
                found[key] = self._answer(done, source)
        if not self._threads.hung:
            self._hanging.over("no lookup hangs any longer")
        return found

    def close(self) -> None:
        """Start no more lookups."""
        self._threads.close()

    def _answer(self, done: Future[Found], source: ModelSource) -> Found:
        try:
            return done.result()
        except TimeoutError as error:
            self._hanging.warning("lookups hang", uri=source.uri, thread=str(error))
            return ArtifactUnavailable(source.uri, f"no answer within {self._timeout_s:g} s")

    def _found(self, source: ModelSource) -> Found:
        try:
            return self._resolve(source)
        except ArtifactError as error:
            return error
        except Exception as error:
            # A fault of ours, or a setting that the store's client refuses: the others go on.
            log.exception("artifact lookup failed", uri=source.uri)
            return ArtifactUnavailable(source.uri, f"{type(error).__name__}: {error}")
