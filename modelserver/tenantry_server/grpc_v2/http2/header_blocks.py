"""The headers of calls, decoded by the library `hpack`, and known again without decoding them.

A client sends the same headers with every call, and after the first they are a few bytes that point into
a table. While that table is unchanged, the same bytes mean the same; decoding them again in Python would
take longer than to answer.

Leans on these of hpack 4.2, without which tests/unit/server/grpc_v2/http2/test_header_blocks.py fails:
`Decoder.header_table` may be another `HeaderTable`, and is changed by `add` and by size updates alone.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from hpack import Decoder, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from tenantry_server.grpc_v2.http2 import frames
from tenantry_server.grpc_v2.http2.frames import Code, Fault

MOST_BYTES = 16 << 10
"""Of all headers of a call, decoded, with 32 bytes for each as RFC 9113 counts them."""

_MOST_BLOCK_BYTES = 8 << 10
_CONTINUATIONS = 8
_KEPT = 64  # blocks
_LONGEST_KEPT = 1 << 10
_FREE_FIELDS = 24  # more than any client of gRPC sends
_SIZE_UPDATES = range(0x20, 0x40)  # first bytes

Head = TypeVar("Head")
Pairs = list[tuple[bytes, bytes]]


class Parts:
    """A block that comes in several frames.

    Attributes:
        awaited: whether its next part is; nothing else may come before that.
    """

    def __init__(self) -> None:
        self.awaited = False

    def begin(self, number: int, flags: int, payload: bytes) -> None:
        """Take the first part of a block."""
        self.awaited = True
        self._number, self._flags, self._count = number, flags, 0
        self._block = bytearray(payload)

    def go_on(self, number: int, flags: int, payload: bytes) -> tuple[int, int, bytes] | None:
        """Take a part; return the first flags, the stream and the whole block with the last one.

        Raises:
            Fault: it continues nothing, or is too much.
        """
        if not self.awaited or number != self._number:
            raise Fault(Code.PROTOCOL_ERROR, "headers are continued that did not begin")
        self._block += payload
        self._count += 1
        if len(self._block) > _MOST_BLOCK_BYTES or self._count > _CONTINUATIONS:
            raise Fault(Code.ENHANCE_YOUR_CALM, "headers are too large")
        if not flags & frames.END_HEADERS:
            return None
        self.awaited = False
        return self._flags, number, bytes(self._block)


class _Table(HeaderTable):
    """A table that counts its changes."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)


class HeaderBlocks(Generic[Head]):
    """Reads the blocks of one connection, in the order in which they arrive.

    Args:
        read: makes of the headers of a call what is kept of them.
    """

    def __init__(self, read: Callable[[Pairs], Head]) -> None:
        self._read = read
        self._decoder = Decoder(max_header_list_size=MOST_BYTES)
        self._table = self._decoder.header_table = _Table()
        self._known: dict[bytes, Head] = {}

    def read(self, block: bytes) -> tuple[Head, int]:
        """Return what a block says, and how many headers it has beyond what a client needs.

        Raises:
            Fault: it can't be decoded, or is too large.
        """
        known = self._known.get(block)
        if known is not None:
            return known, 0
        if len(block) > _MOST_BLOCK_BYTES:
            raise Fault(Code.ENHANCE_YOUR_CALM, "headers are too large")
        before = self._table.changes
        try:
            pairs: Pairs = [
                (bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)
            ]
        except OversizedHeaderListError:
            raise Fault(Code.ENHANCE_YOUR_CALM, "headers are too large") from None
        except HPACKError:
            raise Fault(Code.COMPRESSION_ERROR, "headers can't be decoded") from None
        head = self._read(pairs)
        if self._table.changes != before or (block[:1] and block[0] in _SIZE_UPDATES):
            self._known.clear()
        elif len(block) <= _LONGEST_KEPT:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[block] = head
        return head, max(0, len(pairs) - _FREE_FIELDS)
