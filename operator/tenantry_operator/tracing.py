"""Traces of changes: from what a source shows of a TenantModel to the status that is written of it.

Owns the traces under way, at most one for each TenantModel. Refuses to hold anything up: what is not traced
costs a look into an empty table, and while very many changes are under way, no further one is traced.
"""

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tenantry.manifest.status import State, Status
from tenantry.registry import Claim
from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Kind, Span

_MOST_OPEN = 4096
_ROOT, _LOOKUP = "apply TenantModel", "look up artifact"
_ENDED_BY = "tenantry.ended_by"


class Step(StrEnum):
    """What a change is made of, beside its lookup; the names of spans."""

    COMMIT = "commit"
    WAIT_FOR_LOAD = "wait for load"
    WAIT_FOR_ACKS = "wait for acks"
    WRITE_STATUS = "write status"


class Declared(Protocol):
    """What a source shows: see `declared.Declaration`."""

    @property
    def uid(self) -> str:
        """Identity."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def name(self) -> str:
        """Its name there."""

    @property
    def generation(self) -> int:
        """Grows with every change of the spec."""

    @property
    def seen_ns(self) -> int:
        """When the source saw it, in nanoseconds since 1970."""


@dataclass(slots=True)
class _Change:
    """A change under way.

    Attributes:
        uid: of the TenantModel.
        generation: of the spec.
        root: its span.
        lookup, wait: steps that run; None: none does.
        settled: the status with which it ends once that is written; None: something is awaited.
    """

    uid: str
    generation: int
    root: Span
    lookup: Span | None = None
    wait: Span | None = None
    settled: Status | None = None

    def step(self, name: str, kind: Kind = Kind.INTERNAL) -> Span:
        """Begin a step of it."""
        step = self.root.part(name, kind)
        step.attributes["tenantry.uid"] = self.uid
        return step


class Changes:
    """The traces under way; called from several threads.

    Args:
        sampler: begins traces; None: nothing is traced.
        writes_statuses: whether a change ends with the write of its status; else with its commit.
    """

    def __init__(self, sampler: Sampler | None = None, *, writes_statuses: bool = False) -> None:
        self._sampler = sampler
        self._writes_statuses = writes_statuses
        self._open: dict[str, _Change] = {}
        self._lock = threading.Lock()

    def begin(self, declared: Declared, before: Claim | None) -> None:
        """A source shows this; trace it where the registry knows another spec, or none."""
        uid = declared.uid
        if self._sampler is None or (before is not None and before.generation == declared.generation):
            return
        with self._lock:
            former = self._open.get(uid)
            if former is not None and former.generation == declared.generation:
                return
            self._end(uid, "change")
            root = self._sampler.begin(None, None) if len(self._open) < _MOST_OPEN else None
            if root is None:
                return
            root.name, root.kind, root.began_ns = _ROOT, Kind.INTERNAL, declared.seen_ns
            root.attributes |= {
                "tenantry.uid": uid,
                "tenantry.namespace": declared.namespace,
                "tenantry.name": declared.name,
                "tenantry.generation": declared.generation,
            }
            self._open[uid] = _Change(uid, declared.generation, root)

    def asked(self, uid: str) -> None:
        """The lookup of its artifact begins."""
        if uid not in self._open:
            return
        with self._lock:
            change = self._open.get(uid)
            if change is not None and change.lookup is None:
                change.lookup = change.step(_LOOKUP, Kind.CLIENT)

    def answered(self, uid: str, problem: str | None) -> None:
        """The store has answered.

        Args:
            problem: the reason why there is no artifact; None: there is one.
        """
        if uid not in self._open:
            return
        with self._lock:
            change = self._open.get(uid)
            if change is None or change.lookup is None:
                return
            if problem is not None:
                change.lookup.fail(problem)
            change.lookup.end()
            change.lookup = None

    @contextmanager
    def step(self, step: Step, uids: Collection[str]) -> Iterator[None]:
        """Make the block a step of each of these changes that is traced."""
        spans: list[Span] = []
        if self._open:
            with self._lock:
                traced = [change for uid in uids if (change := self._open.get(uid)) is not None]
                spans = [change.step(step, Kind.CLIENT) for change in traced]
        try:
            yield
        except BaseException as error:
            for span in spans:  # without its words, which may have an address in them
                span.fail(type(error).__name__)
            raise
        finally:
            for span in spans:
                span.end()

    def decided(
        self, uid: str, user_id: str | None, status: Status, waits: Step | None, *, is_news: bool
    ) -> None:
        """This was decided and committed.

        Args:
            waits: what has to happen before the decision can change; None: nothing that the operator and
                the servers do.
            is_news: whether the status was not the same before.
        """
        if uid not in self._open:
            return
        with self._lock:
            change = self._open.get(uid)
            if change is None:
                return
            root = change.root
            root.about(user_id=user_id, model_id=status.model_id)
            root.attributes["tenantry.reason"] = status.reason
            root.failed = False
            root.attributes.pop("error.type", None)
            if status.state is State.STALLED:
                root.fail(status.reason)
            if change.wait is not None and change.wait.name != waits:
                change.wait.end()
                change.wait = None
            if waits is not None and change.wait is None:
                change.wait = change.step(waits)
            is_to_be_written = self._writes_statuses and (is_news or change.settled is not None)
            change.settled = status if waits is None else None
            if waits is None and not is_to_be_written:
                self._end(uid, "status")

    def written(self, claim: Claim) -> None:
        """The object has this status now."""
        if claim.uid not in self._open:
            return
        with self._lock:
            change = self._open.get(claim.uid)
            if change is not None and change.settled is not None and change.settled == claim.status:
                self._end(claim.uid, "status")

    def removed(self, uids: Collection[str]) -> None:
        """These TenantModels are gone."""
        if self._open:
            with self._lock:
                for uid in uids:
                    self._end(uid, "deletion")

    def end_all(self) -> None:
        """Nothing is decided any more."""
        with self._lock:
            for uid in list(self._open):
                self._end(uid, "shutdown")

    def _end(self, uid: str, by: str) -> None:
        change = self._open.pop(uid, None)
        if change is None:
            return
        for step in (change.lookup, change.wait):
            if step is not None:
                step.end()
        change.root.attributes[_ENDED_BY] = by
        change.root.end()
