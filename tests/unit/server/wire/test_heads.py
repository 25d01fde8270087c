"""Which heads pass for plain, and that aiohttp's parser reads each of them so."""

import asyncio
from typing import Any

import pytest
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantry_server.wire.heads import END, Block, Form, Heads, target_of

LINE = b"POST /predict/ann HTTP/1.1"
HEAD = b"\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n"


class Held:
    """Where a parser puts its payloads."""

    _reading_paused = False

    def pause_reading(self) -> None: ...

    def resume_reading(self, resume_parser: bool = True) -> None: ...


def read(head: bytes) -> Any:
    """What aiohttp's parser reads in one head; None: it refuses it, or waits for more, or reads several."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(Held(), loop, 1 << 16)  # type: ignore[arg-type]
        messages, _, tail = parser.feed_data(head)
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    return messages[0][0] if len(messages) == 1 and not tail else None


def knowing(*blocks: bytes) -> Heads:
    heads = Heads()
    for block in blocks:
        message = read(LINE + block)
        if message is not None:
            heads.learn(block, message)
    return heads


def block(*lines: str) -> bytes:
    return "\r\n".join(["", *lines, "", ""]).encode("latin-1")


def test_a_block_is_plain_once_it_was_read() -> None:
    assert Heads().find(HEAD) is None
    assert knowing(HEAD).find(HEAD) == Block(3, None, lines=HEAD)


@pytest.mark.parametrize(
    ("learnt", "asked", "found"),
    [
        ("Content-Length: 3", "Content-Length: 4711", Block(4711, None)),
        ("content-length: 3", "Content-Length:4", Block(4, None)),
        ("Content-Length: 3\nX-Request-Id: 1", "Content-Length: 3\nX-Request-Id: 2 3", Block(3, None)),
        ("Content-Length: 3\nX-Request-Id: 1", "Content-Length: 3\nX-Other-Id: 1", None),
        ("Content-Length: 3\nX-Request-Id: 1", "Content-Length: 3\nX-Request-Id: \x7f", None),
        ("Content-Length: 3\ntraceparent: 00-1", "traceparent: 00-1\nContent-Length: 3", None),
        ("Content-Length: 3", "Content-Length: +3", None),
        ("Content-Length: 3", "Content-Length: 3, 3", None),
        ("Content-Length: 3", "Content-Length: 3\nContent-Length: 3", None),
        ("Content-Length: 3", "Content-Length : 3", None),
        ("Content-Length: 3", "Content-Length: 3\nTransfer-Encoding: chunked", None),
        ("Content-Length: 3", "Content-Length: 1000000000", None),
        (
            "Tenantry-Timeout-Ms: 9\nContent-Length: 3",
            "Tenantry-Timeout-Ms: 1\nContent-Length: 3",
            Block(3, None, timeout_ms=1),
        ),
        ("Tenantry-Timeout-Ms: 9\nContent-Length: 3", "Tenantry-Timeout-Ms: 0\nContent-Length: 3", None),
        (
            "Inference-Header-Content-Length: 9\nContent-Length: 30",
            "Inference-Header-Content-Length: 007\nContent-Length: 40",
            Block(40, "007"),
        ),
    ],
)
def test_another_block_is_as_plain_where_only_a_value_without_meaning_differs(
    learnt: str, asked: str, found: Block | None
) -> None:
    heads, lines = (
        knowing(block("Host: here", *learnt.split("\n"))),
        block("Host: here", *asked.split("\n")),
    )
    assert heads.find(lines) == (None if found is None else found._replace(lines=lines))


@pytest.mark.parametrize(
    "lines",
    [
        "Content-Length: 3\nConnection: close",
        "Content-Length: 3\nConnection: upgrade\nUpgrade: h2c",
        "Content-Length: 3\nExpect: 100-continue",
        "Content-Length: 3\nContent-Encoding: gzip",
        "Transfer-Encoding: chunked",
        "Accept: */*",
    ],
)
def test_what_aiohttp_does_more_for_is_never_plain(lines: str) -> None:
    one = block("Host: here", *lines.split("\n"))
    assert knowing(one).find(one) is None


@pytest.mark.parametrize(
    ("line", "form", "user_id"),
    [
        ("POST /predict/a.b~c@d:e+f-1 HTTP/1.1", Form.NATIVE, "a.b~c@d:e+f-1"),
        ("POST /v1/models/ann:predict HTTP/1.1", Form.V1, "ann"),
        ("POST /v1/models/a:predict:predict HTTP/1.1", Form.V1, "a:predict"),
        ("POST /v2/models/ann/infer HTTP/1.1", Form.V2, "ann"),
        ("POST /predict/.. HTTP/1.1", None, ""),
        ("POST /predict/a%6En HTTP/1.1", None, ""),
        ("POST /predict/ann?x=1 HTTP/1.1", None, ""),
        ("POST /predict/ann HTTP/1.0", None, ""),
        ("POST  /predict/ann HTTP/1.1", None, ""),
        ("post /predict/ann HTTP/1.1", None, ""),
        (f"POST /predict/{'a' * 254} HTTP/1.1", None, ""),
    ],
)
def test_request_lines(line: str, form: Form | None, user_id: str) -> None:
    found = target_of(line.encode() + HEAD)
    assert (None if found is None else (found.form, found.user_id)) == (
        None if form is None else (form, user_id)
    )
    assert found is None or (line.encode() + HEAD)[found.block_at :] == HEAD


NAMES = st.sampled_from(
    (
        *("Host", "host", "Content-Length", "content-length", "Content-Type", "Transfer-Encoding", "Foo"),
        *("X-Id", "x-id", "Cookie", "Authorization", "traceparent", "Expect", "Upgrade", "Connection"),
        *("Tenantry-Timeout-Ms", "Content-Encoding", "Inference-Header-Content-Length", "X-\x00", "X\tY"),
    )
)
VALUES = st.one_of(
    st.sampled_from(["", "3", "12", "close", "keep-alive", "chunked", "a\rb", "a\nb", "\t3", "3 ", "a:b"]),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=8),
)
LINES = st.one_of(
    st.tuples(NAMES, st.sampled_from([": ", ":", " :", ":  "]), VALUES).map("".join),
    st.sampled_from(["Host: here", "Content-Length: 3", " folded", "no colon", ": no name"]),
)
BLOCKS = st.lists(LINES, max_size=5).map(lambda lines: block("Host: here", "Content-Length: 3", *lines))


@settings(max_examples=400)
@given(st.lists(BLOCKS, min_size=1, max_size=4), st.lists(BLOCKS, min_size=1, max_size=4))
def test_aiohttp_reads_every_plain_block_as_it_was_read_here(
    learnt: list[bytes], asked: list[bytes]
) -> None:
    heads = knowing(*learnt)
    for one in (*learnt, *asked):
        found = heads.find(one)
        if found is None:
            continue
        assert one.find(END) == len(one) - len(END)
        message = read(LINE + one)
        assert message is not None
        assert int(message.headers["Content-Length"]) == found.body_bytes
        unusual = (message.should_close, message.chunked, message.upgrade, message.compression)
        assert not any(unusual)
        assert message.headers.get("Inference-Header-Content-Length") == found.json_length
