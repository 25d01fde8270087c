"""Everything in a routing table at one moment, in pieces that are written as they are asked for.

A piece takes about a millisecond to write and is kept, so that many followers that come at the same time
cost no more than one.
"""

from dataclasses import replace

from tenantry_server.assignments.compact_rows import Reading
from tenantry_server.sidecars import messages

ROWS = 1000
"""Of one piece."""


class Pages:
    """The pieces of one reading of everything.

    Args:
        number: of the newest change in it.
        everything: the table at that moment.

    Example:
        >>> from tenantry.registry.rows import Assignment, Changes
        >>> rows = [Assignment(str(n), "uid", 1, None) for n in range(ROWS + 1)]
        >>> pages = Pages(7, Reading(Changes(42, True, rows, {})))
        >>> len(pages), b'"complete":true' in pages[0], b'"complete":true' in pages[1]
        (2, True, False)
    """

    def __init__(self, number: int, everything: Reading) -> None:
        self.number = number
        self._everything = everything
        self._users = list(everything.rows)
        self._written: dict[int, bytes] = {}

    def __len__(self) -> int:
        return max(1, -(-len(self._users) // ROWS))

    def __getitem__(self, at: int) -> bytes:
        if at not in self._written:
            users = self._users[at * ROWS : (at + 1) * ROWS]
            rows = [self._everything.rows[user_id] for user_id in users]
            part = replace(self._everything.head, assignments=rows)
            if at:
                part = replace(part, complete=False, shards={}, spread={})
            self._written[at] = messages.encode(part)
        return self._written[at]
