"""Arrow and Parquet, in an environment that has pyarrow: real tables, a real server process."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from aiohttp.test_utils import TestServer
from sklearn.linear_model import Ridge

from tenantry.client import Client, batches
from tenantry.client.transport import Transport
from tenantry.errors import ModelNotAssigned
from tenantry_server import CachedModelRepository, FileSystemModelRepository, bounded_cache, make_app
from tenantry_server.access.gate import Gate
from tenantry_server.assignments.model_info import ModelInfoRepository
from tenantry_server.kernels import arrays
from tenantry_server.workers.child import tables
from tenantry_server.workers.pool import Pool
from tests.support.tenants.registered import Tenants

ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
ASKED: dict[str, Any] = {"user_column": "user_id", "most_rows": 100, "most_bytes": 1 << 20}
ROWS = {"user_id": ["b", "a", "a", "nobody", None, "b"], "x": [1.5, 2.5, None, 1.0, 1.0, np.inf]}


def as_arrow(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, **options) as writer:
        writer.write_table(table, max_chunksize=3)
    return bytes(sink.getvalue())


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return bytes(sink.getvalue())


FORMS = {"arrow": (ARROW, as_arrow), "parquet": (PARQUET, as_parquet)}


def read_back(form: str, data: bytes) -> pa.Table:
    if form == "arrow":
        return pa.ipc.open_stream(data).read_all()
    return pq.read_table(pa.BufferReader(data))


def read(form: str, data: bytes, **asked: Any) -> tuple[dict[str, Any], list[Any]]:
    """What a worker makes of a table."""
    body = arrays.encode(ASKED | {"form": form} | asked, [np.frombuffer(data, np.uint8)])
    document, columns = arrays.decode(b"".join(tables.read(b"".join(body))))
    values = [orjson.loads(c.tobytes()) if c.dtype == np.uint8 else c.tolist() for c in columns]
    return document, values


@pytest.mark.parametrize("form", FORMS)
def test_columns_of_every_type_become_plain_ones(form: str) -> None:
    day = datetime(2026, 11, 29, 8, 30)  # noqa: DTZ001 - a table may have such times
    table = pa.table(
        {
            "user_id": pa.array(["a", "b"]).dictionary_encode(),
            "f4": pa.array([0.5, None], pa.float32()),
            "i8": pa.array([1, 2], pa.int8()),
            "missing": pa.array([1, None], pa.int64()),
            "flag": pa.array([True, False]),
            "text": pa.array(["x", None], pa.large_string()),
            "time": pa.array([day, day], pa.timestamp("us")),
            "price": pa.array([1, 2], pa.decimal128(5, 2)),
            "list": pa.array([[0.1, 0.9], []]),
            "none": pa.nulls(2),
        }
    )
    document, values = read(form, FORMS[form][1](table))
    seen = dict(zip([column["name"] for column in document["columns"]], values, strict=True))
    assert document["rows"] == 2
    assert seen.pop("f4")[0] == 0.5
    assert seen == {
        "user_id": ["a", "b"],
        "i8": [1, 2],
        "missing": [1, None],
        "flag": [True, False],
        "text": ["x", None],
        "time": ["2026-11-29T08:30:00"] * 2,
        "price": [1.0, 2.0],
        "list": [[0.1, 0.9], []],
        "none": [None, None],
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("columns", "asked", "words"),
    [
        ({"user_id": [7]}, {}, "column 'user_id' is int64, and must be text, .*lost leading zeros"),
        ({"store": ["a"]}, {}, r"column 'user_id' is missing, which names the user; the table has 'store'"),
        ({"user_id": ["a"], "x": [b"1"]}, {}, "column 'x' is binary, which no model takes"),
        ({"user_id": ["a"] * 9}, {"most_rows": 8}, "9 rows; this server takes 8"),
        ({"user_id": ["a" * 999]}, {"most_bytes": 500}, "bytes in memory, and this server takes 500"),
    ],
)
def test_what_can_not_be_taken_is_refused_in_words(
    form: str, columns: dict[str, Any], asked: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=words):
        read(form, FORMS[form][1](pa.table(columns)), **asked)


@pytest.mark.parametrize("form", FORMS)
def test_a_table_that_was_cut_short_is_refused_whole(form: str) -> None:
    whole = FORMS[form][1](pa.table({"user_id": ["a"] * 50, "x": np.arange(50.0)}))
    for length in (0, 1, 8, len(whole) // 2, len(whole) - 9):
        with pytest.raises(Exception, match=r"is not a whole (Arrow IPC stream|Parquet file)"):
            read(form, whole[:length])


def test_columns_that_are_written_can_be_read() -> None:
    """Numbers as numbers, what differs as JSON, and nothing where there is nothing."""
    parts = [
        np.array([1.5, np.nan]),
        np.frombuffer(b'["a", null]', np.uint8),
        np.frombuffer(b'[1, "x"]', np.uint8),
    ]
    columns = [
        {"name": "n", "parts": 1, "json": False, "text": False},
        {"name": "t", "parts": 1, "json": True, "text": True},
        {"name": "m", "parts": 1, "json": True, "text": False},
    ]
    for form in FORMS:
        body = arrays.encode({"form": form, "columns": columns}, parts)
        made = read_back(form, b"".join(tables.write(b"".join(body))))
        assert made.to_pydict() == {"n": [1.5, None], "t": ["a", None], "m": ["1", '"x"']}


class Known(ModelInfoRepository):
    """Users of a registry, known at once."""

    def __init__(self, ids: dict[str, str]) -> None:
        self.ids = ids

    def get_model_id_by_user_id(self, user_id: str) -> str:
        if user_id not in self.ids:
            raise ModelNotAssigned(user_id)
        return self.ids[user_id]

    def peek(self, user_id: str) -> str | None:
        return self.get_model_id_by_user_id(user_id)


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    tenants = Tenants(tmp_path)
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    ids = {name: tenants.add(name, Ridge(alpha).fit(frame, frame["x"])) for alpha, name in enumerate("ab")}
    pool = Pool(most=2)
    pool.start()
    models = CachedModelRepository(FileSystemModelRepository(), bounded_cache(1 << 20))
    app = make_app(Known(ids), models, pool=pool, gate=Gate(), predict_timeout_s=120.0, max_batch_rows=100)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))
    pool.close()
    tenants.engine.dispose()


async def post(url: str, data: bytes, media: str, accept: str = "*/*") -> tuple[int, str, bytes]:
    headers = {"Content-Type": media, "Accept": accept}
    async with aiohttp.ClientSession() as session, session.post(url, data=data, headers=headers) as answer:
        return answer.status, answer.content_type, await answer.read()


async def test_a_server_answers_tables_with_tables(url: str) -> None:
    """As it answers JSON, to the last bit; a bad row and a process that reads no table harm nobody."""
    table = pa.table(ROWS)
    for form, (media, write) in FORMS.items():
        status, answered, body = await post(f"{url}predict", write(table), media)
        assert (status, answered) == (200, media), body
        made = read_back(form, body)
        assert made.column_names == ["user_id", "prediction", "error", "reason", "status"]
        assert made.schema.field("prediction").type == pa.float64()
        status, _, body = await post(f"{url}predict", write(table), media, "application/json")
        document = orjson.loads(body)
        assert made["prediction"].to_pylist() == document["predictions"]
        assert made["status"].to_pylist() == [200, 200, 422, 404, 422, 422]
        messages = made["error"].to_pylist()
        assert messages[2] == "row 2, column 'x' is missing (null), and this model takes no missing values"
        assert messages[4].startswith("row 4, column 'user_id' must be a text")
        assert messages[5] == "row 5, column 'x' is infinite"
        for row, user_id, x in ((0, "b", 1.5), (1, "a", 2.5)):
            _, _, body = await post(
                f"{url}predict/{user_id}", orjson.dumps({"instances": [[x]]}), "application/json"
            )
            assert orjson.loads(body)["predictions"] == [document["predictions"][row]]
        status, _, body = await post(f"{url}predict", b"PAR1 and nothing", media)
        assert status == 422
        assert "is not a whole" in orjson.loads(body)["error"]["message"]
        rows = pa.table({"user_id": ["a"] * 101})
        status, _, body = await post(f"{url}predict", write(rows), media)
        assert (status, orjson.loads(body)["error"]["reason"]) == (413, "BatchTooLong")
        asked = pa.table({"user_id": ["a", "nobody"], "horizon": [2, 2]})
        status, _, body = await post(f"{url}forecast", write(asked), media)
        made = read_back(form, body)
        assert made.column_names == ["user_id", "time", "mean", "error", "reason", "status"]
        assert made["reason"].to_pylist() == ["NotAForecaster", "ModelNotAssigned"]


async def test_the_client_sends_and_reads_tables(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame goes as Arrow, with categories and missing values, and rows are numbered as the caller's."""
    sent: list[str] = []
    whole = Transport.exchange

    def seen(self: Any, connection: Any, attempt: Any, question: Any) -> Any:
        sent.append(question.headers.get("Content-Type", "json"))
        return whole(self, connection, attempt, question)

    monkeypatch.setattr(Transport, "exchange", seen)
    monkeypatch.setattr(batches, "_ROWS", 3)
    frame = pd.DataFrame(ROWS).assign(user_id=lambda rows: rows["user_id"].astype("category"))

    def ask(rows: Any) -> Any:
        with Client(url.rstrip("/"), timeout_s=120.0) as client:
            return client.predict_many(rows)

    answer = await asyncio.to_thread(ask, frame)
    assert sent.count(ARROW) == 2
    records = pd.DataFrame(ROWS).iloc[[0, 1, 3]].to_dict("records")
    plain = await asyncio.to_thread(ask, records)
    assert [answer[0], answer[1]] == plain.values[:2]
    assert {row: (error.status, error.reason) for row, error in answer.errors.items()} == {
        2: (422, "FeatureMismatch"),
        3: (404, "ModelNotAssigned"),
        4: (422, "InvalidRequest"),
        5: (422, "FeatureMismatch"),
    }
    assert [str(answer[row]).split(",")[0] for row in (2, 4, 5)] == ["row 2", "row 4", "row 5"]
