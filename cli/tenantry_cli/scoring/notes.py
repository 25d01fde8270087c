"""What a job has done, noted beside its parts: rows of each part, and the rows that failed."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tenantry.scoring.arrow_rows import ArrowRows
from tenantry_cli.scoring.table import Rows

if TYPE_CHECKING:
    import pandas as pd

_FORM = 3  # of the notes and parts
_FIRST = 3  # failed rows of each reason in the report


@dataclass(slots=True)
class Failures:
    """Rows without a prediction.

    Attributes:
        counts: by reason.
        first: by reason, the first few: row, user and message.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[tuple[int, str, str]]] = field(default_factory=dict)

    def add(self, some: Rows, first_row: int, user_column: str) -> None:
        """Count the failures of some rows, which begin with row `first_row` of the table."""
        failed = some.failures(user_column) if isinstance(some, ArrowRows) else _failures(some, user_column)
        self.counts.update(reason for _, _, reason, _ in failed)
        for row, user, reason, error in failed:
            shown = self.first.setdefault(reason, [])
            if len(shown) < _FIRST:
                shown.append((first_row + row, str(user), str(error)))

    @property
    def total(self) -> int:
        """Of all reasons."""
        return self.counts.total()


def _failures(frame: "pd.DataFrame", user_column: str) -> list[tuple[int, str, str, str]]:
    """As `ArrowRows.failures`."""
    failed = frame["reason"].notna().to_numpy().nonzero()[0].tolist()
    some = frame.iloc[failed]
    return list(
        zip(failed, *(some[name].tolist() for name in (user_column, "reason", "error")), strict=True)
    )


@dataclass(slots=True)
class Notes:
    """What is done.

    Attributes:
        job: what another job would differ in.
        rows: of each whole part, in order.
        failures: in them.
        complete: whether the last part ended the table.
    """

    job: dict[str, Any]
    rows: list[int] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    complete: bool = False

    @property
    def done_rows(self) -> int:
        """How many rows are in whole parts."""
        return sum(self.rows)

    def to_bytes(self) -> bytes:
        """Return them as JSON."""
        failures = {"counts": self.failures.counts, "first": self.failures.first}
        document = {"form": _FORM, "job": self.job, "rows": self.rows, "complete": self.complete}
        return json.dumps({**document, "failures": failures}, ensure_ascii=False).encode()

    @classmethod
    def read(cls, data: bytes) -> "Notes":
        """Read them.

        Raises:
            ValueError: they are none.
        """
        try:
            document = json.loads(data)
            if document["form"] != _FORM:
                raise ValueError(f"of form {document['form']}")
            failures = Failures(
                Counter(document["failures"]["counts"]),
                {
                    reason: [(r, u, w) for r, u, w in rows]
                    for reason, rows in document["failures"]["first"].items()
                },
            )
            return cls(
                document["job"], [int(each) for each in document["rows"]], failures, document["complete"]
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it lacks {error}") from None
