"""What a decision about one TenantModel depends on, and what it consists of."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from tenantry import ModelId
from tenantry.errors import ArtifactError
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.manifest.status import Status
from tenantry.registry import Assignment, Fault, LoadReport, Server


@dataclass(frozen=True, slots=True)
class Observations:
    """Everything outside the document that the decision depends on.

    Attributes:
        before: the status that was given last; None: none yet.
        bound_user: the user of this TenantModel's first valid spec; None: this is the first.
        winner: namespace/name of the TenantModel that has this user; None: this one has, or none.
        artifact: exactly what stands under the declared URI, or why that is unknown.
        assignment: the user's row in the registry, a tombstone included.
        servers: those whose lease holds.
        report: what the owner said of the candidate, if it said something new.
        faults: models of the user that servers can't load, the oldest first.
        bound_elsewhere: another namespace that the user belongs to; None: this one, or none.
        denied: the policy that does not permit it and the rule, in words; None: all permit it.
        ceiling: the most that policies allow its user.
    """

    before: Status | None
    bound_user: str | None
    winner: str | None
    artifact: ModelId | ArtifactError | None
    assignment: Assignment | None
    servers: Sequence[Server]
    report: LoadReport | None
    faults: Sequence[Fault] = ()
    bound_elsewhere: str | None = None
    denied: str | None = None
    ceiling: Limits = NO_LIMITS


class Waiting(Enum):
    """What has to happen before the decision can change."""

    NOTHING = auto()
    RETRY = auto()  # the artifact store: ask again after a while
    LOAD = auto()  # a server's report on the candidate
    ACKS = auto()  # every live server's revision


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write, what to say, and what to wait for.

    Attributes:
        assignment: the row to write, without its revision; None: leave the row unchanged.
        acks: the revision that every live server must have, where `waiting` is ACKS and no row is
            written.
    """

    status: Status
    waiting: Waiting = Waiting.NOTHING
    assignment: Assignment | None = None
    acks: int = 0
