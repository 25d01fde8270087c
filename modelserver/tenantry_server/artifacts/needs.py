"""The memory that a load takes at its peak: measured with the same bytes here or elsewhere, else guessed.

An artifact tells little of that. Arrays that were written as they are need a little more than the file, and
a compressed file of 17 MiB may hold a gibibyte of zeros.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

from tenantry import ModelId

# Times an artifact's size: the file, the model, its arrays and their copy in the server. Measured with a
# forest of 104 MiB: 5.4.
GUESSED = 6
_MARGIN = 1.1  # of a measurement
_MOST_KNOWN = 10_000


class Needs:
    """Says what loads need, and learns from each that was measured; used in any thread.

    Attributes:
        size_elsewhere: returns the size in memory of a model that any server of the fleet has loaded; None:
            it is unknown, or small.

    Example:
        >>> needs, exact = Needs(), ModelId.parse("file:///m.joblib#sha256=" + "a" * 64)
        >>> needs.bytes_of(exact, 1000)
        6000
        >>> needs.learn(exact, 2000)
        >>> needs.bytes_of(exact, 1000)
        2200
    """

    def __init__(self) -> None:
        self.size_elsewhere: Callable[[ModelId], int | None] = lambda _: None
        self._lock = threading.Lock()
        self._measured: OrderedDict[str, int] = OrderedDict()
        self._least: OrderedDict[str, int] = OrderedDict()

    def bytes_of(self, exact: ModelId, artifact_bytes: int) -> int:
        """Return what a load takes at its peak, of all processes of this server together."""
        key = _key(exact)
        with self._lock:
            measured_bytes, least_bytes = self._measured.get(key), self._least.get(key, 0)
        if measured_bytes is not None:
            return measured_bytes
        size_bytes = self.size_elsewhere(exact) or 0
        if size_bytes < artifact_bytes:  # a kernel smaller than the model that it was made of, if anything
            return max(GUESSED * artifact_bytes, least_bytes)
        # The artifact here and in the worker, the model, and a copy while it is measured or sent.
        return max(2 * (artifact_bytes + size_bytes), least_bytes)

    def learn(self, exact: ModelId, peak_bytes: int) -> None:
        """Remember what a load took that ended well."""
        with self._lock:
            _remember(self._measured, _key(exact), int(_MARGIN * peak_bytes))
            self._least.pop(_key(exact), None)

    def was_not_enough(self, exact: ModelId, available_bytes: int) -> None:
        """Remember that memory ran out in a load, which had so much to take."""
        with self._lock:
            _remember(self._least, _key(exact), available_bytes)
            self._measured.pop(_key(exact), None)


def _key(exact: ModelId) -> str:
    return exact.sha256 or str(exact)


def _remember(known: OrderedDict[str, int], key: str, value: int) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST_KNOWN:
        known.popitem(last=False)
