"""What the command prints: facts on standard output, everything else on standard error."""

import sys

from rich.console import Console
from rich.text import Text

# Not on a terminal, a line stays a line: a folded URI can't be copied or searched for.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """Print one line about what went wrong."""
    err.print(Text.assemble(("error: ", "bold red"), " ".join(message.split())))


def say(message: str) -> None:
    """Print one line about what happens."""
    err.print(Text(message))


def size(count_bytes: float | None) -> str:
    """Format bytes for people.

    Example:
        >>> size(1536), size(None)
        ('1.5 KiB', '-')
    """
    if count_bytes is None:
        return "-"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count_bytes < 1024 or unit == "GiB":
            return f"{count_bytes:.0f} B" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1024
    return ""
