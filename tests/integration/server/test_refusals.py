"""Bad requests: one form of answer, the right status, and no harm to a neighbour."""

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from tenantry.registry import open_engine
from tenantry_server import (
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    make_app,
)
from tests.support.tenants.application import (
    BODY_BYTES,
    POST,
    TIMEOUT_S,
    Client,
    neighbour_is_well,
    refusal,
)
from tests.support.tenants.registered import Tenants

ELSEWHERE = "an admin sees why"  # the message names the artifact, which is not for clients
BAD: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    # path, request, status, reason, words of the message
    "unknown user": ("/predict/nobody", POST, 404, "ModelNotAssigned", "no model is assigned to user 'nob"),
    "a NUL in the user": ("/predict/a%00b", POST, 400, "BadRequest", "without percent-encoding"),
    "not JSON": ("/predict/ridge", POST | {"data": b"{"}, 422, "InvalidRequest", "not JSON"),
    "empty": ("/predict/ridge", POST | {"data": b""}, 422, "InvalidRequest", "not JSON"),
    "wrong shape": ("/predict/ridge", POST | {"data": b"17"}, 422, "InvalidRequest", "got the number 17"),
    "missing column": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1}]'},
        422,
        "FeatureMismatch",
        "row 0: missing column 'b'",
    ),
    "extra column": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]'},
        422,
        "FeatureMismatch",
        "row 1: unknown column 'c'",
    ),
    "not a number": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1, "b": 2}, {"a": "x", "b": 2}]'},
        422,
        "FeatureMismatch",
        "row 1, column 'a' must be a number, got the string 'x'",
    ),
    "null": (
        "/predict/ridge",
        POST | {"data": b'[{"a": 1, "b": null}]'},
        422,
        "FeatureMismatch",
        "row 0, column 'b' is missing (null)",
    ),
    "too few values": (
        "/predict/ridge",
        POST | {"data": b'{"instances": [[1]]}'},
        422,
        "FeatureMismatch",
        "row 0 has 1 values, the model takes 2",
    ),
    "too large": (
        "/predict/ridge",
        POST | {"data": b" " * (BODY_BYTES + 1)},
        413,
        "RequestTooLarge",
        "send fewer rows",
    ),
    "too large once unpacked": (
        "/predict/ridge",
        POST | {"data": gzip.compress(b" " * (1 << 24)), "headers": {"Content-Encoding": "gzip"}},
        413,
        "RequestTooLarge",
        "send fewer rows",
    ),
    "not gzip": (
        "/predict/ridge",
        POST | {"data": b"plain", "headers": {"Content-Encoding": "gzip"}},
        400,
        "BadRequest",
        "can't read the body",
    ),
    "wrong method": ("/predict/ridge", {"method": "GET"}, 405, "MethodNotAllowed", "GET /predict/ridge"),
    "wrong method elsewhere": ("/healthz", POST, 405, "MethodNotAllowed", "POST /healthz"),
    "unknown path": ("/predictions", POST, 404, "NotFound", "predictions are at POST /predict/{user_id}"),
    "deeper path": ("/predict/a/b", POST, 404, "NotFound", "predictions are at"),
    "raises": (
        "/predict/raises",
        POST,
        500,
        "PredictionFailed",
        "ErrorModel raised RuntimeError: this mod",
    ),
    "exits": ("/predict/exits", POST, 500, "PredictionFailed", "Exits raised SystemExit: 3"),
    "wrong count": ("/predict/wrong", POST, 500, "PredictionFailed", "returned shape (0,) for 1 rows"),
    "a scalar": ("/predict/scalar", POST, 500, "PredictionFailed", "returned shape () for 1 rows"),
    "no JSON": ("/predict/complex", POST, 500, "PredictionFailed", "which JSON has no form for"),
    "slow": ("/predict/slow", POST, 504, "PredictionTimeout", f"no answer within {TIMEOUT_S:g} s"),
    "slow to load": (
        "/predict/slow-load",
        POST,
        503,
        "ModelLoading",
        f"has not loaded within {TIMEOUT_S:g} s",
    ),
    "garbage": ("/predict/garbage", POST, 503, "ArtifactInvalid", ELSEWHERE),
    "exits when loaded": ("/predict/exits-load", POST, 503, "ArtifactInvalid", ELSEWHERE),
    "not there": ("/predict/lost", POST, 503, "ArtifactNotFound", ELSEWHERE),
    "no loader": ("/predict/odd", POST, 503, "UnknownFormat", ELSEWHERE),
    "other bytes": ("/predict/swapped", POST, 503, "ArtifactDigestMismatch", ELSEWHERE),
    "larger than the cache": ("/predict/large", POST, 507, "ModelTooLarge", ELSEWHERE),
    "not loaded yet": ("/predict/new", POST, 503, "ModelNotReady", "has not loaded yet; retry shortly"),
}

IN_VAIN = ("ArtifactInvalid", "UnknownFormat", "ArtifactDigestMismatch")  # no time mends these


@pytest.mark.parametrize(("path", "request_", "status", "reason", "words"), BAD.values(), ids=BAD.keys())
async def test_a_bad_request_gets_one_form_of_answer_and_hurts_nobody(
    path: str,
    request_: dict[str, Any],
    status: int,
    reason: str,
    words: str,
    strange: Tenants,
    client: Client,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """JSON with a reason and a message; and the good neighbour's prediction is as before."""
    await neighbour_is_well(client)
    async with client.request(path=path, **request_) as response:
        seen = await refusal(response)
        assert seen[:2] == (status, reason)
        assert words in seen[2]
        retries = status == 503 and reason not in IN_VAIN
        assert response.headers.get("Retry-After") == ("1" if retries else None)
        assert ("Allow" in response.headers) == (status == 405)
    await neighbour_is_well(client)
    assert [entry.message for entry in caplog.records if entry.name == "aiohttp.server"] == []


async def test_every_tenant_of_the_table_at_once_hurts_nobody(strange: Tenants, client: Client) -> None:
    async def one(path: str, request_: dict[str, Any]) -> None:
        async with client.request(path=path, **request_) as response:
            await response.read()

    await neighbour_is_well(client)
    asked = [asyncio.create_task(one(path, request_)) for path, request_, *_ in [*BAD.values()] * 3]
    for _ in range(20):
        await neighbour_is_well(client)
    await asyncio.gather(*asked)
    await neighbour_is_well(client)


async def test_a_registry_out_of_reach_is_503(tmp_path: Path) -> None:
    """Here: one whose tables nobody has made."""
    info = SQLAlchemyModelInfoRepository(open_engine(f"sqlite:///{tmp_path}/empty.db"))
    app = make_app(info, FileSystemModelRepository(), server_id="server-7")
    async with (
        TestClient(TestServer(app)) as client,
        client.post("/predict/good", json=[]) as response,
    ):
        assert (await refusal(response))[:2] == (503, "RegistryUnavailable")
        assert response.headers["Retry-After"] == "1"
