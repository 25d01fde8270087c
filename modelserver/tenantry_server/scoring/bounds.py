"""How much memory one answer may take.

A request of many rows is small, and so is a model of many outputs; their answer is the product of both.
One bound holds for the whole process, a server's or a worker's.
"""

from tenantry.errors import AnswerTooLarge

MOST_BYTES = 32 << 20
"""Of an answer, where no setting says otherwise: four million numbers, about 80 MiB of JSON."""

_most_bytes = MOST_BYTES


def bound_answers(most_bytes: int) -> None:
    """Set the bound of this process."""
    global _most_bytes  # noqa: PLW0603 - one of the process, as its memory is
    _most_bytes = most_bytes


def check(rows: int, size_bytes: int) -> None:
    """Refuse an answer that is too large.

    Args:
        rows: that it answers.
        size_bytes: that it takes, or would take.

    Raises:
        AnswerTooLarge: it is.
    """
    if size_bytes > _most_bytes:
        raise AnswerTooLarge(rows, size_bytes, _most_bytes)
