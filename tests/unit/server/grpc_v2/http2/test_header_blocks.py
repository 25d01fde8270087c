"""Header blocks: known again by their bytes where those mean the same, whatever a table does."""

import random

import pytest
from hpack import Encoder

from tenantry_server.grpc_v2.http2.frames import Code, Fault
from tenantry_server.grpc_v2.http2.header_blocks import HeaderBlocks, Pairs

CALL = [(":method", "POST"), (":path", "/a/b"), ("content-type", "application/grpc")]


def kept(pairs: Pairs) -> Pairs:
    return pairs


def as_bytes(pairs: list[tuple[str, str]]) -> Pairs:
    return [(name.encode(), value.encode()) for name, value in pairs]


def test_the_same_bytes_are_decoded_once_while_the_table_is_unchanged() -> None:
    seen: list[Pairs] = []

    def read(pairs: Pairs) -> Pairs:
        seen.append(pairs)
        return pairs

    blocks, encoder = HeaderBlocks(read), Encoder()
    for _ in range(5):
        assert blocks.read(encoder.encode(CALL))[0] == as_bytes(CALL)
    assert len(seen) == 2  # the first fills the table


def test_the_same_bytes_mean_another_thing_after_the_table_has_changed() -> None:
    blocks, encoder = HeaderBlocks(kept), Encoder()
    for value in ("one", "two"):
        blocks.read(encoder.encode([("x", value)]))
        newest = b"\xbe"  # points to the newest entry
        assert blocks.read(newest)[0] == [(b"x", value.encode())]
        assert blocks.read(newest)[0] == [(b"x", value.encode())]


def test_a_table_that_was_emptied_and_grew_again_has_no_entry() -> None:
    blocks, encoder = HeaderBlocks(kept), Encoder()
    blocks.read(encoder.encode([("x", "one")]))
    blocks.read(b"\xbe")
    blocks.read(b"\x20\x3f\xe1\x1f")  # to 0 bytes, and to 4,096
    with pytest.raises(Fault) as raised:
        blocks.read(b"\xbe")
    assert raised.value.code is Code.COMPRESSION_ERROR


def test_blocks_of_any_order_are_read_as_the_encoder_meant_them() -> None:
    """Literals, indexed or not, secrets, entries that displace others, tables of other sizes."""
    draw = random.Random(7)  # noqa: S311 - a test
    blocks, encoder = HeaderBlocks(kept), Encoder()
    for n in range(2000):
        if n % 97 == 0:
            encoder.header_table_size = draw.choice((0, 100, 300, 4096))
        pairs = CALL + [
            (f"x-{draw.randrange(4)}", draw.choice("ab") * draw.randrange(1, 60))
            for _ in range(draw.randrange(3))
        ]
        headers = [(name, value, draw.random() < 0.2) for name, value in pairs]
        assert blocks.read(bytes(encoder.encode(headers, huffman=draw.random() < 0.5)))[0] == as_bytes(
            pairs
        )


def test_what_is_kept_is_bounded() -> None:
    blocks = HeaderBlocks(kept)
    for n in range(1000):
        blocks.read(b"\x00\x01x\x7f\x50" + f"{n:0207d}".encode())
    assert len(blocks._known) <= 64
