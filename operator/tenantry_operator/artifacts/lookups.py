"""Asks artifact stores, in threads of its own: a slow store delays only TenantModels that need it."""

import queue
import time
from concurrent.futures import ThreadPoolExecutor

import structlog

from tenantry import ModelId
from tenantry.errors import ArtifactError, ArtifactUnavailable
from tenantry.spec import ModelSource
from tenantry_operator.artifacts.resolver import Resolve

log = structlog.get_logger(__name__)

Found = ModelId | ArtifactError


class Lookups:
    """Lookups under way, at most one that counts for each key.

    Args:
        resolve: asks the artifact store.
        threads: how many may ask at once.
    """

    def __init__(self, resolve: Resolve, threads: int) -> None:
        self._resolve = resolve
        self._pool = ThreadPoolExecutor(threads, "resolve")
        self._asked: dict[str, object] = {}
        self._answers: queue.SimpleQueue[tuple[str, object, Found]] = queue.SimpleQueue()

    def __contains__(self, key: str) -> bool:
        return key in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def ask(self, key: str, source: ModelSource) -> None:
        """Look up now; the answer of an earlier lookup for this key is dropped."""
        token = object()
        self._asked[key] = token
        self._pool.submit(self._work, key, token, source)

    def forget(self, key: str) -> None:
        """Drop the answer for this key."""
        self._asked.pop(key, None)

    def take(self, *, wait_s: float) -> dict[str, Found]:
        """Return the answers so far; wait up to `wait_s` for all of them."""
        found: dict[str, Found] = {}
        until_s = time.monotonic() + wait_s
        while self._asked:
            try:
                key, token, answer = self._answers.get(timeout=max(0.0, until_s - time.monotonic()))
            except queue.Empty:
                break
            if self._asked.get(key) is token:
                del self._asked[key]
                found[key] = answer
        return found

    def close(self) -> None:
        """Start no more lookups."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, key: str, token: object, source: ModelSource) -> None:
        self._answers.put((key, token, self._found(source)))

    def _found(self, source: ModelSource) -> Found:
        try:
            return self._resolve(source)
        except ArtifactError as error:
            return error
        except Exception as error:
            # A fault of ours, or a setting that the store's client refuses: the others go on.
            log.exception("artifact lookup failed", uri=source.uri)
            return ArtifactUnavailable(source.uri, f"{type(error).__name__}: {error}")
