"""What is said of rows that have no answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from tenantry import TenantryError
from tenantry.errors import ModelNotReady
from tenantry_server.predicting.together import Answers
from tenantry_server.protocols.batch.inside import Inside
from tenantry_server.rows.batch import Batch
from tenantry_server.wire.errors import responses as error_responses

log = structlog.get_logger(__name__)

_EXPLAINED = 64  # users of one batch whose model has not loaded: each costs a question to the registry
_AT_ONCE = 128  # each is found and described in 20 us


class PeerRefusal(Exception):
    """What another server says of a row.

    Args:
        refusal: in its words.
    """

    def __init__(self, refusal: "Refusal") -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row has no answer: what a request for it alone would be answered with.

    Attributes:
        status: of HTTP.
        reason: stable.
        message: what was seen, and what to do.
    """

    status: int
    reason: str
    message: str


async def described(inside: Inside, batch: Batch, answers: Answers) -> dict[int, Refusal]:
    """Return why rows have no answer, by row in their order."""
    await _explain(inside, answers)
    known: dict[int, Refusal] = {}  # by the error's identity: one may stand for thousands of rows
    refusals: dict[int, Refusal] = {}
    failed = 0
    for place, row in enumerate(sorted(answers.errors), 1):
        error = answers.errors[row]
        refusal = known.get(id(error))
        if refusal is None:
            refusal = known[id(error)] = _refusal(error)
            if refusal.status == 500:
                _log(inside, batch.users[row], error, is_first=not failed)
        failed += refusal.status == 500
        refusals[row] = refusal
        if place % _AT_ONCE == 0:
            await asyncio.sleep(0)
    if failed:
        log.warning("predictions of a batch failed", rows=failed)
    return refusals


def listed(batch: Batch, refusals: dict[int, Refusal], rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return some refusals as the member ``errors`` has them."""
    return [
        {
            "row": batch.number(row),
            "user_id": batch.users[row],
            "status": refusals[row].status,
            "reason": refusals[row].reason,
            "message": refusals[row].message,
        }
        for row in rows
    ]


async def _explain(inside: Inside, answers: Answers) -> None:
    explained = inside.explained
    if explained is None:
        return
    waiting = {id(error): error for error in answers.errors.values() if isinstance(error, ModelNotReady)}
    some = dict(list(waiting.items())[:_EXPLAINED])
    if some:
        found = await asyncio.gather(*map(explained, some.values()))
        better = dict(zip(some, found, strict=True))
        for row, error in answers.errors.items():
            answers.errors[row] = better.get(id(error), error)


def _refusal(error: Exception) -> Refusal:
    if isinstance(error, PeerRefusal):
        return error.refusal
    if isinstance(error, TenantryError):
        return Refusal(error_responses.status_of(error), error.reason, error_responses.words_of(error))
    return Refusal(500, "InternalError", "this server failed on this row; its log says why")


def _log(inside: Inside, user_id: str | None, error: Exception, *, is_first: bool) -> None:
    """Log what is a fault of a model, or once of this server; a peer has logged its own."""
    if isinstance(error, TenantryError):
        inside.failures.add(user_id, error)
    elif is_first and not isinstance(error, PeerRefusal):
        log.error("a row of a batch failed", exc_info=error)
