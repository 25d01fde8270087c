"""The watch over TenantModels: a thread of kopf's, and what its events mean."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from tenantry_operator.cluster import informer, objects
from tenantry_operator.cluster.status_port import StatusPort
from tenantry_operator.declared import Listing

log = structlog.get_logger(__name__)

_QUIET_S = 1.0  # without another object, a relist is over
_BEGIN_S = 2.0  # a watch has listed by then, even where there is no object


class Watcher:
    """Hands every event over as a listing, and knows when only a full listing can tell what is gone.

    Args:
        submit: takes listings; called in kopf's thread.
        statuses: hears how each object stands.
        namespace: to watch; None: all.
    """

    # kopf's thread writes `_handed`, `_deleted` and `_relisted_s`, and the loop reads and clears them; each
    # access is one operation on a dict, a set or a reference.

    def __init__(
        self, submit: Callable[[Listing], None], statuses: StatusPort, *, namespace: str | None
    ) -> None:
        self._submit = submit
        self._statuses = statuses
        self._namespace = namespace
        self._handed: dict[str, int] = {}  # uid -> generation that was submitted
        self._deleted: set[str] = set()  # since the last full listing began
        self._relisted_s: float | None = None  # when the watch listed something; None: we listed since
        self._thread: threading.Thread | None = None

    def start(self, stop: threading.Event) -> None:
        """Watch in a thread of its own, until stopped or until the watch ends by itself."""
        self._relisted_s = time.monotonic() + _BEGIN_S
        self._thread = threading.Thread(target=self._watch, args=(stop,), name="informer", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """False once the watch has ended, as it does where the CRD is deleted."""
        return self._thread is not None and self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def has_relisted(self, now_s: float) -> bool:
        """Return whether a watch began since the last full listing, and is done with its own.

        A watch never shows what was deleted before it began, so a full listing has to follow.
        """
        relisted_s = self._relisted_s
        return relisted_s is not None and now_s - relisted_s >= _QUIET_S

    def listing_begins(self) -> None:
        """A full listing begins: it covers every relist up to now, and no deletion from here on."""
        self._relisted_s = None
        self._deleted.clear()

    @property
    def deleted(self) -> frozenset[str]:
        """The uids that were deleted since the last full listing began."""
        return frozenset(self._deleted)

    def forget(self, uid: str) -> None:
        """A TenantModel was removed: submit it again if it comes back."""
        self._handed.pop(uid, None)

    def _watch(self, stop: threading.Event) -> None:
        try:
            informer.run(self._hand, self._relisting, stop, namespace=self._namespace)
        except Exception as error:
            log.warning("the watch ended and will begin again", error=f"{type(error).__name__}: {error}")

    def _relisting(self) -> None:
        self._relisted_s = time.monotonic()

    def _hand(self, document: Mapping[str, Any], deleted: bool) -> None:
        """Handle one event, in kopf's thread."""
        metadata = document["metadata"]
        uid = metadata["uid"]
        if deleted:
            self._deleted.add(uid)
            self._handed.pop(uid, None)
            self._statuses.call(lambda writer: writer.gone([uid]))
            self._submit(Listing({}, deleted=frozenset([uid])))
            return
        if not self._statuses.knows(uid, metadata["resourceVersion"]):
            found = objects.seen(document)
            self._statuses.call(lambda writer: writer.seen(uid, found))
        if self._handed.get(uid) != metadata["generation"]:  # else a status or a label: nothing to decide
            self._handed[uid] = metadata["generation"]
            self._submit(Listing({uid: objects.declaration(document)}))
