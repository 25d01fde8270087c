"""What a model server and a follower of it write to one another: changes of the registry as JSON."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_args

import orjson

from tenantry.placement import SHARDS
from tenantry.registry.rows import Assignment, Changes, Holding, Server, ServerReport

_R = TypeVar("_R", Assignment, Holding)
_LONGEST_CURSOR = 256
_LIVES_S = 1.0  # any time above 0: the answer names none that does not live


def _kinds(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) or (annotation,)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a follower gets for one question.

    Attributes:
        cursor: to ask with next; asking with it says that `changes` are in force.
        lease_s: how long the table may be trusted, from before the question was sent.
        changes: in the order in which they have to be applied.
        more: these are a part of a reading of everything, of which nothing is in force before the rest.
        fleet: the servers that live, and which of them has answered; None: it did not say.
    """

    cursor: str
    lease_s: float
    changes: list[Changes]
    more: bool = False
    fleet: "Fleet | None" = None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers that live.

    Attributes:
        me: the id of the one that says so.
        servers: all of them, that one included.
        limits: of everyone for whom none were declared, as `Limits.to_text` writes them; empty: none.
    """

    me: str
    servers: list[Server]
    limits: str = ""


def encode_fleet(me: str, servers: Iterable[tuple[str, str, float, bool]], limits: str = "") -> bytes:
    """Write who lives.

    Args:
        servers: of each server its id, its base URL, its load from 0 to 1, and whether it is leaving.
        limits: as in `Fleet`.
    """
    listed = [
        {"id": server_id, "url": url, "load": load, "leaving": leaving}
        for server_id, url, load, leaving in servers
    ]
    return orjson.dumps({"me": me, "servers": listed, "limits": limits})


def encode(changes: Changes) -> bytes:
    """Write one batch of changes, so that all followers get the same bytes."""
    return orjson.dumps(changes, option=orjson.OPT_NON_STR_KEYS)


def join(
    cursor: str, lease_s: float, batches: list[bytes], *, more: bool = False, fleet: bytes = b""
) -> bytes:
    """Write an answer from batches that are written already.

    Args:
        more: as in `Answer`.
        fleet: as `encode_fleet` wrote it; empty: nothing is said.

    Example:
        >>> join("feed.1", 3.0, [])
        b'{"cursor":"feed.1","lease_s":3.0,"changes":[]}'
    """
    head = orjson.dumps({"cursor": cursor, "lease_s": lease_s} | ({"more": True} if more else {}))
    known = b',"fleet":' + fleet if fleet else b""
    return b'%b%b,"changes":[%b]}' % (head[:-1], known, b",".join(batches))


def decode(body: bytes) -> Answer:
    """Read an answer.

    Raises:
        ValueError: it is not one.
    """
    try:
        document = orjson.loads(body)
        changes = [_changes(each) for each in document["changes"]]
        return Answer(
            _cursor(document["cursor"]),
            float(document["lease_s"]),
            changes,
            document.get("more", False) is True,
            _fleet(document["fleet"]) if "fleet" in document else None,
        )
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


def _fleet(document: dict[str, Any]) -> Fleet:
    servers = [
        Server(
            server_id=_text(each["id"]),
            endpoint=_text(each["url"]),
            acked_revision=0,
            lease_left_s=_LIVES_S,
            capacity_bytes=0,
            report=ServerReport(load=float(each["load"]), leaving=bool(each["leaving"])),
        )
        for each in document["servers"]
    ]
    # A server of an older release says nothing of limits.
    return Fleet(_text(document["me"]), servers, _text(document.get("limits", "")))


def _text(given: Any) -> str:
    if type(given) is not str:
        raise ValueError("not a text")
    return given


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
