"""What the registry hands out: immutable rows with their meaning."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenantry.manifest import status
from tenantry.manifest.status import Status

_TITLE, _REASON = 320, 64  # characters of the columns
_IDLE_LOAD = 0.02  # of a core


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which model answers for a user.

    An update is first a candidate, which only the owner of the user's shard loads, and becomes
    `model_id` once that worked: no server ever gives up a model that works for one that doesn't.

    Attributes:
        user_id: whom the model is for.
        uid: the claim that it stands for.
        generation: of that claim, when the row was written.
        model_id: what every server answers with; None until one version has loaded.
        candidate_id: the model to load next; None where `model_id` is the newest.
        revision: of this row; a server that read less must not answer from it.
        deleted: a tombstone.
        size_bytes: of `model_id` in memory.
        prewarm: the owner of the shard loads `model_id` before anybody asks for it.
        replicas: how many servers hold it, where there are so many.
        limits: of the user, as `Limits.to_text` writes them; empty: none.
    """

    user_id: str
    uid: str
    generation: int
    model_id: str | None
    candidate_id: str | None = None
    revision: int = 0
    deleted: bool = False
    size_bytes: int | None = None
    prewarm: bool = False
    replicas: int = 1
    limits: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What the operator remembers of one TenantModel, with the status it last gave.

    Attributes:
        spec: the newest valid ``spec`` as a plain document; None where none was ever valid.
        status: as it was given last; None: none yet, or it was edited by hand.
        since: type of each condition -> when it became what it is, RFC 3339.
        origin: the file that it stands in, relative to its folder; empty on Kubernetes.
    """

    uid: str
    namespace: str
    name: str
    user_id: str | None
    created_at: float
    generation: int
    spec: dict[str, Any] | None
    status: Status | None = None
    since: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""

    @property
    def observed_generation(self) -> int:
        """The generation that the status is about; -1 where there is none."""
        return -1 if self.status is None else self.status.observed_generation

    @property
    def model_id(self) -> str | None:
        """What answers for the user by the status."""
        return None if self.status is None else self.status.model_id

    @property
    def size_bytes(self) -> int | None:
        """Bytes of that model in memory."""
        return None if self.status is None else self.status.size_bytes

    @property
    def conditions(self) -> list[dict[str, Any]]:
        """The status as conditions, written again each time."""
        return [] if self.status is None else status.conditions(self.status, self.since)

    @property
    def title(self) -> str:
        """Namespace and name, cut to what an index takes."""
        return f"{self.namespace}/{self.name}"[:_TITLE]

    @property
    def reason(self) -> str:
        """Why it is in its state, in one word; empty: nothing was decided yet."""
        return "" if self.status is None else self.status.reason[:_REASON]


@dataclass(frozen=True, slots=True)
class ServerReport:
    """What a model server reports whenever it renews its lease.

    Attributes:
        used_bytes: of its model cache.
        prepared_revision: it has loaded the hot users of every shard that it was named the next
            owner of up to this revision, or tried to.
        leaving: it is stopping, and answers until other servers own its shards.
        load: busy share of its core, 0 to 1.
        busiest: user id -> share of `load`, of the few largest.
    """

    used_bytes: int = 0
    prepared_revision: int = -1
    leaving: bool = False
    load: float = 0.0
    busiest: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_idle(self) -> bool:
        """Whether its load is no more than what probes and scrapes take."""
        return self.load <= _IDLE_LOAD


@dataclass(frozen=True, slots=True)
class Holding:
    """The owner of a shard.

    Attributes:
        next_id: the server that takes over once it has loaded the hot users; None: the shard stays.
        revision: of this row; 0 where it is still to be given.
    """

    server_id: str
    next_id: str | None = None
    revision: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Server:
    """A model server as it last reported itself.

    Attributes:
        endpoint: base URL.
        acked_revision: every change up to this one is in force there.
        lease_left_s: seconds until its lease ends; negative: expired. `leases` says by which clock.
        capacity_bytes: of its model cache.
        report: what it says of itself.
        renewal: changes with every renewal of the lease; means nothing else.
        lease_s: how long each renewal counts; None: a server of an older release, which does not say.
    """

    server_id: str
    endpoint: str
    acked_revision: int
    lease_left_s: float
    capacity_bytes: int
    report: ServerReport
    renewal: float = 0.0
    lease_s: float | None = None

    @property
    def live(self) -> bool:
        """Whether its lease holds: it may answer from what it read."""
        return self.lease_left_s > 0


class LoadState(StrEnum):
    """How the load of a candidate ended."""

    LOADED = "loaded"
    FAILED = "failed"  # a person must act
    RETRYING = "retrying"  # the server tries again by itself


@dataclass(frozen=True, slots=True)
class StrikeReport:
    """A model that ended a worker process of a server, or took longer than it may.

    Attributes:
        number: of the row; 0: not written yet.
        writer: the server process that saw it.
        age_s: how long ago, by the database's clock.
        how: what was done with the model, and how the process ended.
    """

    model_id: str
    how: str
    age_s: float = 0.0
    number: int = 0
    writer: str = ""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A server's report on a candidate that it tried to load."""

    user_id: str
    server_id: str
    model_id: str
    state: LoadState
    size_bytes: int | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that changed after a revision.

    Attributes:
        revision: what the reader has seen once it has applied these.
        token: of that revision in the registry's history; empty where an older release wrote it.
        complete: whether this is the whole registry and not a difference: what is missing is gone.
        shards: the changed ones: shard -> its owner now.
        spread: the changed ones: user id -> on how many servers the model is, as measured.
    """

    revision: int
    complete: bool
    assignments: list[Assignment]
    shards: dict[int, Holding]
    spread: dict[str, int] = field(default_factory=dict)
    token: str = ""
