"""The registry's history: a random token beside every revision that a commit ended with.

A failover to a replica that lags, or a restore, takes commits back, and later ones get the same revisions.
A process that holds a revision as a cursor holds its token too: where the two no longer belong together,
what the process knows is of another history. Owns the statements; refuses to decide what follows from a
difference.
"""

import secrets
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, bindparam, delete, insert, select

from tenantry.errors import HistoryChanged
from tenantry.registry import schema as t

KEPT_REVISIONS = 10_000  # a cursor that is further behind reads everything, which takes no longer

POLL = "SELECT l.revision, h.token FROM leader l LEFT JOIN history h ON h.revision = l.revision"


def new_token() -> str:
    """Return a token that no other commit has."""
    return secrets.token_hex(8)


def write(connection: Connection, revision: int, token: str) -> None:
    """Note the token of the last revision of this transaction; forget those of long ago."""
    kept = t.history.c.revision.between(revision - KEPT_REVISIONS + 1, revision - 1)
    connection.execute(delete(t.history).where(~kept))
    connection.execute(insert(t.history).values(revision=revision, token=token))


def newest(connection: Connection, cursor: int, token: str | None) -> tuple[int, str]:
    """Return the newest revision and its token.

    Args:
        cursor: the newest revision that the caller knows.
        token: its token; empty where an operator of an older release wrote it; None: not to be compared.

    Raises:
        HistoryChanged: the cursor is of another history, or of too long ago to tell.
    """
    row = connection.execute(_AT, {"cursor": cursor}).one()
    known, last = row.known or "", row.token or ""
    if token is not None and (row.revision < cursor or known != token):
        raise HistoryChanged(
            f"revision {cursor}, token {token or None}", f"{row.revision}, {known or None}"
        )
    return int(row.revision), last


def _at() -> Select[Any]:
    head, mine = t.history.alias("head"), t.history.alias("mine")
    joined = t.leader.outerjoin(head, head.c.revision == t.leader.c.revision).outerjoin(
        mine, mine.c.revision == bindparam("cursor", type_=BigInteger)
    )
    return select(t.leader.c.revision, head.c.token, mine.c.token.label("known")).select_from(joined)


_AT = _at()  # once: servers ask every second, and to build it costs more than to run it
