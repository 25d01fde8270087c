"""A model in memory, and what is known of it there: its size, what it costs, who asked for it."""

import math
from typing import Literal

from tenantry import Model
from tenantry_server.kernels.base import Compiled
from tenantry_server.kernels.stacked import Kind

# Handing work to a thread costs about 50 us plus GIL switches. Calls cheaper than a few times that run on
# the event loop, and hold up others for no longer than a request's own parsing does.
QUICK_CALL_S = 0.0003


class Resident:
    """A model in memory, and what is known of it there.

    Attributes:
        model: the model.
        size_bytes: in the cache's own measure.
        call_s: the cost of a small prediction, in seconds: what its kind takes as a rule, then as measured;
            infinite where neither is known.
        spent_s: the cost of predictions in threads that was not charged to its user yet, in seconds.
        requests: that it answered since they were read and reset.
        here: whether it only computes, and in this process: then it may answer on the event loop.
        compiled: whether it is a kernel.
        kind: of the kernels that it is computed together with; None: with none; False: no batch has asked.
        place: of its numbers among theirs; -1: not there, as no batch has asked for it.
        shown: its model id as answers show it, which takes 2 us to find out; empty: none has yet.
    """

    # Of a hundred thousand, each dict counts.
    __slots__ = (
        *("_calls", "call_s", "compiled", "here", "kind", "model", "place", "requests"),
        *("shown", "size_bytes", "spent_s"),
    )

    def __init__(self, model: Model, size_bytes: int) -> None:
        self.place = -1
        self.shown = ""
        self.model = model
        self.size_bytes = size_bytes
        self.call_s: float = getattr(model, "call_s", math.inf)
        self.spent_s = 0.0
        self.requests = 0
        self.here = not (model.may_block or model.elsewhere)
        self.compiled = isinstance(model, Compiled)
        self.kind: Kind | Literal[False] | None = False
        self._calls = 0

    def __del__(self) -> None:
        if self.place >= 0 and self.kind:
            self.kind.drop(self.place)

    def is_sampled(self) -> bool:
        """Count a request; return whether to measure it: one of 16, as a clock costs as much as a model."""
        self.requests += 1
        self._calls = (self._calls + 1) & 15
        return self._calls == 0

    def charged_s(self) -> float:
        """Return `spent_s`, which is charged to a user now, and start again."""
        spent_s, self.spent_s = self.spent_s, 0.0
        return spent_s

    def took(self, call_s: float) -> None:
        """Update `call_s` with one more measured call; a single outlier changes little."""
        known = self.call_s
        self.call_s = call_s if known == math.inf else known + (call_s - known) / 8
