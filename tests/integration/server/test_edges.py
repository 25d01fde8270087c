"""What is refused at the edge: odd spellings of a path, and what is not HTTP."""

import asyncio
import json
import logging

import pytest

from tenantry_server.wire.errors import refusals
from tests.support.tenants.application import Client

SECRET = "Bearer-marked-secret"  # noqa: S105 - of the test's own
ROW = b'{"instances": [[1, 2]]}'


async def exchange(client: Client, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """The answer to these bytes, on a connection of their own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    try:
        writer.write(raw)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = head.strip().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers["Content-Length"]))
        if headers.get("Connection") == "close":
            assert await reader.read() == b"", "it closes"
    finally:
        writer.close()
        await writer.wait_closed()
    return int(status.split()[1]), headers, body


def request(path: str, body: bytes = ROW) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "path",
    [
        "/predict/%67ood",
        "/%70redict/good",
        "/predict%2Fgood",
        "/predict/good%2F",
        "/predict/good%00",
        "/predict/%2e/good",
        "/v1/models/%67ood:predict",
        "/v1/models/good%3Apredict",
        "/v1/models/good%3apredict",
        "/%76%31/models/good:predict",
        "/v2/models/%67ood/infer",
        "/v2/models/good/%69nfer",
        "/v2%2Fmodels/good/infer",
        "/v2/repository/models/%67ood/unload",
    ],
)
async def test_another_spelling_of_a_path_is_400(client: Client, path: str) -> None:
    """A gateway that authorises by the literal path would be walked around."""
    status, headers, body = await exchange(client, request(path))
    assert (status, headers["Tenantry-Reason"]) == (400, "BadRequest")
    assert "percent-encoding" in body.decode()


@pytest.mark.parametrize(
    "path",
    [
        "//predict/good",
        "/predict//good",
        "/./predict/good",
        "/x/../predict/good",
        "/predict/good/",
        "/PREDICT/good",
    ],
)
async def test_other_detours_lead_nowhere(client: Client, path: str) -> None:
    assert (await exchange(client, request(path)))[0] == 404


async def test_clients_that_encode_what_a_user_id_may_hold_are_understood(client: Client) -> None:
    """As urllib's and JavaScript's functions do: the user is unknown, and its name was read."""
    for encoded in ("a%40b", "a%2Bb", "a%2bb"):
        for path in (f"/predict/{encoded}", f"/v2/models/{encoded}/ready"):
            method = "POST" if "predict" in path else "GET"
            raw = request(path).replace(b"POST", method.encode(), 1)
            status, headers, _ = await exchange(client, raw)
            assert (status, headers["Tenantry-Reason"]) == (404, "ModelNotAssigned")


NOT_HTTP = {
    "no head": b"hello\r\n\r\n",
    "a space in a name": f"GET /healthz HTTP/1.1\r\nAuthorization : {SECRET}\r\n\r\n".encode(),
    "a bare CR": f"GET /healthz HTTP/1.1\r\nAuthorization: {SECRET}\r x\r\n\r\n".encode(),
    "two lengths": f"POST /predict/good HTTP/1.1\r\nX: {SECRET}\r\nContent-Length: 1\r\n"
    "Content-Length: 2\r\n\r\n".encode(),
    "both framings": f"POST /predict/good HTTP/1.1\r\nX: {SECRET}\r\nContent-Length: 1\r\n"
    "Transfer-Encoding: chunked\r\n\r\n".encode(),
    "a head without end": b"GET /healthz HTTP/1.1\r\nX: " + SECRET.encode() * 9000 + b"\r\n\r\n",
    "another version": b"GET /healthz HTTP/9.9\r\n\r\n",
}


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the log, which a test moves."""
    clock = [0.0]
    monkeypatch.setattr(refusals, "_MINUTE", refusals.Minute(lambda: clock[0]))
    return clock


@pytest.mark.parametrize("client", ["fast path"], indirect=True)
@pytest.mark.parametrize("raw", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_what_the_parser_refuses_is_answered_in_the_documented_form(
    client: Client,
    raw: bytes,
    minute: list[float],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    status, headers, body = await exchange(client, raw)
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["error"]["reason"] == headers["Tenantry-Reason"] == "BadRequest"
    assert "Server" not in headers
    shown = caplog.text + "".join(capfd.readouterr()) + body.decode()
    assert "marked-secret" not in shown
    assert "Traceback" not in shown
    assert all(record.levelno < logging.ERROR for record in caplog.records)


@pytest.mark.parametrize("client", ["fast path"], indirect=True)
async def test_it_is_logged_once_a_minute_with_their_number(
    client: Client, minute: list[float], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(5):
        await exchange(client, NOT_HTTP["no head"])
    minute[0] = 60.0
    await exchange(client, NOT_HTTP["two lengths"])
    shown = caplog.text + "".join(capfd.readouterr())
    assert shown.count("requests refused that are not HTTP") == 2
    assert "5" in shown.rpartition("requests refused")[2]
