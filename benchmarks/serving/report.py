"""The one table: each figure beside its target, with the date and the machine that it is from."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving.wrk import Load

_HEAD = (
    "workload",
    "against",
    "ours",
    "theirs",
    "ratio (least to most)",
    "ratio of CPU",
    "target",
    "",
    "p50, p99 ms: ours",
    "theirs",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line.

    Attributes:
        workload: what was asked.
        against: what it is compared with; empty: with nothing.
        ours, theirs: the figures, with their units.
        target: the limit that `met` judges; empty: it is printed only.
        met: None: there is no target, or nothing could be measured.
        cpu: their CPU for one request, for ours.
        ours_ms, theirs_ms: quantiles of the latency.
        note: why nothing could be measured; stands below the table.
    """

    workload: str
    against: str = ""
    ours: str = ""
    theirs: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    ours_ms: str = ""
    theirs_ms: str = ""
    note: str = ""
    cpu: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        verdict = "NOT MEASURED" if self.note else {None: "", True: "met", False: "MISSED"}[self.met]
        before = (self.workload, self.against, self.ours, self.theirs, self.ratio, self.cpu, self.target)
        return (*before, verdict, self.ours_ms, self.theirs_ms)


def rate(load: Load) -> str:
    """Answers a second, and the CPU that one takes."""
    return f"{load.per_s:,.0f}/s" + (f", {load.cpu_us:.0f} us" if load.cpu_us else "")


def quantiles(p50_ms: float, p99_ms: float) -> str:
    """Both, to three digits."""
    return f"{_short(p50_ms)}, {_short(p99_ms)}"


def spread(least: float, middle: float, most: float) -> str:
    """Return a ratio as it came out in all rounds."""
    return f"{_short(middle)} ({_short(least)} to {_short(most)})"


def heading() -> str:
    """When and where; a figure without them says nothing."""
    names = ("aiohttp", "uvloop", "scikit-learn", "numpy", "pandas")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    minute, *_ = os.getloadavg()
    machine = f"{_processor()}, {os.cpu_count()} cores, load average {minute:.1f} before"
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine}; {system}, {versions}"


def as_text(rows: Sequence[Row]) -> str:
    """For a terminal."""
    lines = [_HEAD, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        "  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True)).rstrip() for cells in lines
    ]
    return "\n".join([padded[0], "-" * max(map(len, padded)), *padded[1:]]) + _notes(rows)


def as_markdown(rows: Sequence[Row]) -> str:
    """For docs/benchmarks.md."""
    lines = [_HEAD, ("---",) * len(_HEAD), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + _notes(rows)


def _notes(rows: Sequence[Row]) -> str:
    return "".join(f"\n\n{row.against} was not measured: {row.note}" for row in rows if row.note)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
