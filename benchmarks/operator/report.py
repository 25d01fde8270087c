"""Tables for people: what was measured, and beside it what was aimed at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        met: None: there is no target.
    """

    what: str
    figure: str
    target: str = ""
    met: bool | None = None


def show(title: str, rows: list[Row]) -> None:
    """Print one as Markdown."""
    print(f"\n### {title}\n\n| what | measured | target | |\n| --- | --- | --- | --- |")
    for row in rows:
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        print(f"| {row.what} | {row.figure} | {row.target} | {verdict} |", flush=True)


def quantile(values: list[float], q: float) -> float:
    """The smallest value that a share `q` of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]
