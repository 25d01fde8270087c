"""What a model server and a follower of it write to one another: changes of the registry as JSON."""

from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args

import orjson

from tenantry.placement import SHARDS
from tenantry.registry import Assignment, Changes, Holding

_R = TypeVar("_R", Assignment, Holding)
_LONGEST_CURSOR = 256


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a follower gets for one question.

    Attributes:
        cursor: to ask with next; asking with it says that `changes` are in force.
        lease_s: how long the table may be trusted, from before the question was sent.
        changes: in the order in which they have to be applied.
    """

    cursor: str
    lease_s: float
    changes: list[Changes]


def encode(changes: Changes) -> bytes:
    """Write one batch of changes, so that all followers get the same bytes."""
    return orjson.dumps(changes, option=orjson.OPT_NON_STR_KEYS)


def join(cursor: str, lease_s: float, batches: list[bytes]) -> bytes:
    """Write an answer from batches that are written already.

    Example:
        >>> join("feed.1", 3.0, [])
        b'{"cursor":"feed.1","lease_s":3.0,"changes":[]}'
    """
    head = orjson.dumps({"cursor": cursor, "lease_s": lease_s})
    return head[:-1] + b',"changes":[' + b",".join(batches) + b"]}"


def decode(body: bytes) -> Answer:
    """Read an answer.

    Raises:
        ValueError: it is not one.
    """
    try:
        document = orjson.loads(body)
        changes = [_changes(each) for each in document["changes"]]
        return Answer(_cursor(document["cursor"]), float(document["lease_s"]), changes)
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # whose words may quote the answer
        raise ValueError(f"not an answer of GET /follow: {type(error).__name__}") from None


def _changes(document: dict[str, Any]) -> Changes:
    return Changes(
        revision=int(document["revision"]),
        complete=bool(document["complete"]),
        assignments=[_row(Assignment, each) for each in document["assignments"]],
        shards={_shard(shard): _row(Holding, each) for shard, each in document["shards"].items()},
        spread={user: int(count) for user, count in document["spread"].items()},
        token=str(document["token"]),
    )


def _cursor(given: Any) -> str:
    if type(given) is not str or len(given) > _LONGEST_CURSOR:
        raise ValueError("not a cursor")
    return given


def _shard(text: str) -> int:
    shard = int(text)
    if not 0 <= shard < SHARDS:
        raise ValueError("not a shard")
    return shard


def _row(kind: type[_R], document: dict[str, Any]) -> _R:
    """Make a row; a newer release may send columns that this one does not know.

    Raises:
        ValueError: a value is of another type than the registry has there.
    """
    kinds = _KINDS[kind]
    known = {name: value for name, value in document.items() if name in kinds}
    if not all(type(value) in kinds[name] for name, value in known.items()):
        raise ValueError(f"not a row of {kind.__name__}")
    return kind(**known)


_KINDS = {kind: {each.name: _kinds(each.type) for each in fields(kind)} for kind in (Assignment, Holding)}
