"""The routes of batches: a body becomes rows, users are judged one by one, and each row gets its answer."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

from aiohttp import web

from tenantry.errors import InvalidRequest, LeaseLost, Unauthenticated, UnknownMediaType
from tenantry_server.kernels import arrays
from tenantry_server.kernels.arrays import Buffer
from tenantry_server.memory import garbage
from tenantry_server.predicting.sorting import Users, turns
from tenantry_server.predicting.together import Answers
from tenantry_server.protocols import admission
from tenantry_server.protocols.batch import errors, writing
from tenantry_server.protocols.batch.inside import DIGEST, FORECAST, PREDICT, Form, Inside
from tenantry_server.protocols.batch.passing import Run
from tenantry_server.protocols.service import read_body
from tenantry_server.rows import batch_json
from tenantry_server.rows.arrow import reading as arrow_reading
from tenantry_server.rows.batch import AT_ONCE, IN_MEMORY, USER_COLUMN, Batch
from tenantry_server.rows.forecast_batch import ForecastBatch
from tenantry_server.rows.payload import short
from tenantry_server.rows.table_batch import TableBatch, columns_of
from tenantry_server.wire import headers, media_types
from tenantry_server.wire.answers import LargeAnswer
from tenantry_server.wire.media_types import Media
from tenantry_server.workers.calls.tables import Tables

PATHS = (PREDICT.path, FORECAST.path)
_QUERY = "user_column"
_LONGEST_NAME = 256


def routes(inside: Inside) -> list[web.RouteDef]:
    """Return the routes of this protocol."""

    async def predict(request: web.Request) -> web.Response:
        return await _answered(inside, request, PREDICT)

    async def forecast(request: web.Request) -> web.Response:
        return await _answered(inside, request, FORECAST)

    return [web.post(PREDICT.path, predict), web.post(FORECAST.path, forecast)]


async def _answered(inside: Inside, request: web.Request, form: Form) -> web.Response:
    is_hop, wants_fresh = headers.HOP in request.headers, headers.FRESH in request.headers
    if is_hop and wants_fresh and inside.spread is not None and not inside.spread.lease_held:
        raise LeaseLost
    asked = media_types.of_body(request)
    body = await read_body(request)
    digest = request.query.get(DIGEST)
    if digest is not None and digest != await inside.batches.aside(lambda: sha256(body).hexdigest()):
        raise Unauthenticated("the body is not the one that its sender has proved")
    with garbage.spared(len(body)):
        return await _of_body(inside, request, form, asked, body)


async def _of_body(
    inside: Inside, request: web.Request, form: Form, asked: Media, body: bytes
) -> web.Response:
    batch = await _read(inside, request, asked, body)
    if form is FORECAST:
        batch = ForecastBatch(batch)
    answers = Answers(len(batch))
    try:
        return await _answer_of(inside, request, form, asked, batch, answers)
    finally:
        await inside.batches.aside(
            partial(_free, batch, answers), rows=AT_ONCE if batch.wide else len(batch)
        )


def _free(batch: Batch, answers: Answers) -> None:
    batch.free()
    answers.free()


async def _answer_of(
    inside: Inside, request: web.Request, form: Form, asked: Media, batch: Batch, answers: Answers
) -> web.Response:
    is_hop, wants_fresh = headers.HOP in request.headers, headers.FRESH in request.headers
    ends_s = time.monotonic() + inside.service.timeout_s(request)
    run = Run(inside, form, batch, answers, ends_s=ends_s, is_hop=is_hop, wants_fresh=wants_fresh)
    await run.answer(await _admitted(inside, request, batch, answers))
    refusals = await errors.described(inside, batch, answers)
    _count(inside, len(batch), refusals)
    media = media_types.of_answer(request, asked)
    content = await _written(
        inside, media, partial(_WRITERS[media], form, batch, answers, refusals), len(batch)
    )
    return LargeAnswer(body=content, headers={"Content-Type": media.value})


_WRITERS: dict[Media, Callable[..., bytes | writing.Columns]] = {
    Media.JSON: writing.as_json,
    Media.NDJSON: writing.as_lines,
    Media.ARROW: writing.as_arrow,
    Media.PARQUET: writing.as_columns,
}


async def _written(
    inside: Inside, media: Media, write: Callable[[], bytes | writing.Columns], rows: int
) -> bytes:
    made = await inside.batches.aside(write, rows=rows)
    if isinstance(made, bytes):
        return made
    described, columns = made
    return await _tables(inside).write({"form": _FORMS[media], "columns": described}, columns)


_FORMS = {Media.ARROW: "arrow", Media.PARQUET: "parquet"}


def _tables(inside: Inside) -> Tables:
    if inside.tables is None:
        raise UnknownMediaType(
            "Parquet, and Arrow that has more than texts, numbers and truth values, are read in worker "
            "processes, and TENANTRY_WORKERS=0 allows none; send application/json or application/x-ndjson"
        )
    return inside.tables


async def _table(inside: Inside, body: bytes, media: Media, column: str) -> Batch:
    if media is Media.ARROW:
        parse = partial(arrow_reading.read, user_column=column, most_rows=inside.max_rows)
        read = await inside.service.read(body, parse)
        if read is not None:
            return await inside.batches.aside(partial(TableBatch, *read, column))
    asked = {
        "form": _FORMS[media],
        "user_column": column,
        "most_rows": inside.max_rows,
        "most_bytes": IN_MEMORY * inside.max_body_bytes,
    }
    given = await _tables(inside).read(body, asked)
    return await inside.batches.aside(partial(_decoded, given, column))


def _decoded(given: Buffer, column: str) -> Batch:
    document, columns = arrays.decode(given)
    return TableBatch(columns_of(document["columns"], columns), document["rows"], column)


async def _read(inside: Inside, request: web.Request, asked: Media, body: bytes) -> Batch:
    column = request.query.get(_QUERY, USER_COLUMN)
    if not 0 < len(column) <= _LONGEST_NAME or column in writing.RESERVED:
        raise InvalidRequest(
            f"?{_QUERY}= must be the name of the column with the user, got {short(column)}"
        )
    if asked.is_table:
        return await _table(inside, body, asked, column)
    parse = batch_json.parse_lines if asked is Media.NDJSON else batch_json.parse
    return await inside.service.read(body, partial(parse, user_column=column, most_rows=inside.max_rows))


async def _admitted(inside: Inside, request: web.Request, batch: Batch, answers: Answers) -> Users:
    """Return the rows of each user that the caller may ask for; all others are refused."""
    users = await inside.batches.aside(partial(_grouped, batch), rows=len(batch))
    answers.errors.update(batch.problems)
    if not admission.judges_users(request):
        return users
    allowed = dict(users)
    for user_id in turns(users):
        if user_id is None:
            await asyncio.sleep(0)
            continue
        refusal = admission.refusal_of(request, user_id)
        if refusal is not None:
            answers.refuse(allowed.pop(user_id), refusal)
    return allowed


def _grouped(batch: Batch) -> Mapping[str, Sequence[int]]:
    if not batch.problems:
        one_each: dict[Any, Sequence[int]] = {}
        for first in range(0, len(batch), AT_ONCE):  # one call for all rows would hold up the event loop
            some = batch.users[first : first + AT_ONCE]
            one_each.update(zip(some, zip(range(first, first + len(some)), strict=True), strict=True))
        if len(one_each) == len(batch):
            return one_each
    several: dict[str, list[int]] = defaultdict(list)
    for row, user_id in enumerate(batch.users):
        if user_id is not None and row not in batch.problems:
            several[user_id].append(row)
    return dict(several)


def _count(inside: Inside, rows: int, refusals: dict[int, errors.Refusal]) -> None:
    statuses: dict[int, int] = defaultdict(int)
    for refusal in refusals.values():
        statuses[refusal.status] += 1
    statuses[200] = rows - len(refusals)
    for status, count in statuses.items():
        if count:
            inside.counted(status, count)
