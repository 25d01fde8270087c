"""The whole registry at once, for tests that compare it; a server reads it in pieces."""

from dataclasses import replace

from tenantry.registry import Changes, ServerRegistry


def whole(server: ServerRegistry) -> Changes:
    """Read all rows, as one change of everything."""
    first, *others = server.pieces()
    return replace(first, assignments=[row for piece in (first, *others) for row in piece.assignments])
