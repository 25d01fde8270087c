"""Tables of rows to predictions: pieces of a bounded size, a few requests under way, the order kept."""

import atexit
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tenantry import errors
from tenantry.processes import backoff
from tenantry.scoring import frames
from tenantry.scoring.arrow_rows import ArrowRows
from tenantry.scoring.asking import Asker
from tenantry.scoring.local import LocalServer

if TYPE_CHECKING:
    import pandas as pd

# Of a row: its model loads, its user has used up a quota, or the time of the request was spent on others.
_AGAIN = (429, 503, 504)
_Table = TypeVar("_Table", "pd.DataFrame", "pd.DataFrame | ArrowRows")
_LATE_RETRIES = 2  # where each of them was only late: a model that hangs costs a server's whole time
_FIRST_S, _LAST_S = 0.5, 15.0


@dataclass(frozen=True, slots=True)
class Options:
    """How tables are scored.

    Attributes:
        url: base URL of a server, or of several, which are asked in turn.
        local: in its place, a folder of manifests or the URL of a registry: a server of its own is
            started for this process.
        user_column: the column that names the user of each row, as text.
        columns: what to send beside it; None: every column.
        omit_missing: whether a row leaves out the columns that are missing in it, for a table whose users
            have models of different columns. Otherwise they are missing values.
        rows_per_request: at most; fewer where a server takes fewer.
        in_flight: requests under way at once.
        timeout_s: for one request to be answered.
        retries: how many times in a row a request is sent again, or rows are asked again whose model is
            not ready, with growing waits between them.
        key: API key or token; None: TENANTRY_API_KEY, where that is set.

    Raises:
        ValueError: neither or both of `url` and `local` are given, or a number is below 1.
    """

    url: str | Sequence[str] | None = None
    local: str | Path | None = None
    user_column: str = "user_id"
    columns: Sequence[str] | None = None
    omit_missing: bool = False
    rows_per_request: int = 10_000
    in_flight: int = 4
    timeout_s: float = 120.0
    retries: int = 8
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.url is None) == (self.local is None) or self.url in ("", [], ()):
            raise ValueError(
                "give the url of a server, or local=, a folder of manifests or a registry's URL"
            )
        if self.rows_per_request < 1 or self.in_flight < 1 or self.retries < 0 or self.timeout_s <= 0:
            raise ValueError("rows_per_request and in_flight must be 1 or more, and no number below 0")


def score_batch(
    frame: "pd.DataFrame",
    *,
    url: str | Sequence[str] | None = None,
    local: str | Path | None = None,
    user_column: str = "user_id",
    columns: Sequence[str] | None = None,
    **options: Any,
) -> "pd.DataFrame":
    """Return a table with the predictions of each row's own model.

    For `ray.data.Dataset.map_batches` (``batch_format="pandas"``), `dask.dataframe.map_partitions`, or any
    DataFrame. Connections are opened at the first call in a process, and kept.

    Args:
        frame: one row for each prediction: the user column, and the columns of the models.
        url, local: whom to ask; exactly one is needed.
        user_column, columns, options: as `Options` has them.

    Returns:
        the table, its index kept, with three columns more: ``prediction``, missing where there is none;
        ``error``, why there is none; and ``reason``, the same as docs/http-api.md lists it.

    Raises:
        RequestRefused: the table can't be scored; its words name the column, and the row.
        ClientError: no server answered, however often it was asked; a row that fails alone is none.
        ValueError: an option is not one.

    Example:
        >>> import pandas as pd
        >>> sales = pd.DataFrame({"store_id": ["0042"], "km": [5.0]})
        >>> score_batch(sales, url="http://127.0.0.1:8080", user_column="store_id")  # doctest: +SKIP
          store_id   km  prediction error reason
        0     0042  5.0        20.0  None   None
    """
    import pandas as pd  # noqa: PLC0415 - the caller has it

    chosen = Options(url, local, user_column, columns, **options)
    parts: list[pd.DataFrame] = list(in_order([frame], chosen))
    return parts[0] if len(parts) == 1 else pd.concat(parts)


def score_batches(tables: Iterable["pd.DataFrame"], **options: Any) -> Iterator["pd.DataFrame"]:
    """Score tables as they come, in order, with a few requests under way.

    For `pyspark.sql.DataFrame.mapInPandas`, or a table that is larger than memory.

    Args:
        tables: read as they are needed.
        options: as `Options` has them.

    Returns:
        tables as `score_batch` returns them; a large one in several.

    Raises:
        ClientError: as `score_batch`.
    """
    return in_order(tables, Options(**options))


def in_order(tables: "Iterable[_Table]", chosen: Options) -> "Iterator[_Table]":
    """Score tables as `score_batches` does; an ArrowRows may come back as a DataFrame.

    Raises:
        ClientError: as `score_batch`.
    """
    run = _Run(chosen, _asker_of(chosen))
    threads = ThreadPoolExecutor(chosen.in_flight, "score")
    asked: deque[Future[Any]] = deque()
    try:
        for table in tables:
            for some in _pieces(table, chosen):
                asked.append(threads.submit(run.scored, some))
                if len(asked) > chosen.in_flight:
                    yield asked.popleft().result()
        while asked:
            yield asked.popleft().result()
    finally:
        run.stop.set()
        threads.shutdown(wait=False, cancel_futures=True)


def _pieces(table: "pd.DataFrame | ArrowRows", chosen: Options) -> "Iterator[pd.DataFrame | ArrowRows]":
    """Check a table, and yield what goes into one request each."""
    at_once = chosen.rows_per_request
    if isinstance(table, ArrowRows):
        table.check(chosen.user_column, chosen.columns)
    else:
        frames.check(table, chosen.user_column, chosen.columns)
    for first in range(0, max(1, len(table)), at_once):
        if isinstance(table, ArrowRows):
            yield table.part(first, at_once)
        else:
            yield table.iloc[first : first + at_once]


class _Run:
    """One call of ours.

    Attributes:
        stop: set when the caller no longer wants the rest.
    """

    def __init__(self, options: Options, asker: Asker) -> None:
        self.stop = threading.Event()
        self._options = options
        self._asker = asker
        self._given_up: set[str] = set()  # users for whom waiting was of no use: it is not done twice

    def scored(self, rows: "pd.DataFrame | ArrowRows") -> "pd.DataFrame | ArrowRows":
        """Return some rows with their answers; rows whose model is not ready are asked again.

        They are asked again as long as some of them get an answer, and then a few times more.

        Raises:
            ClientError: no server answered.
        """
        if not isinstance(rows, ArrowRows):
            return self._scored(rows)
        options = self._options
        if options.omit_missing:
            return self._scored(rows.frame())
        found = self._asker.ask_as_arrow(rows, options.user_column, options.columns, self.stop)
        if found is None:
            return self._scored(rows.frame())
        if not found.has_status(_AGAIN):
            return rows.with_answers(found)
        frame, answers = rows.frame(), found.frame()
        if not self._not_ready(frame, answers):
            return rows.with_answers(found)
        return self._scored(frame, answers)

    def _scored(self, rows: "pd.DataFrame", answers: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        wanted = self._options.columns
        sent = rows
        if wanted is not None:
            sent = rows[list(dict.fromkeys((self._options.user_column, *wanted)))]
        if answers is None:
            answers = self._answered(sent)
        failures = 0
        while again := self._not_ready(sent, answers):
            late = answers["status"].iloc[again].eq(504).all()
            if failures >= (min(_LATE_RETRIES, self._options.retries) if late else self._options.retries):
                self._given_up.update(sent[self._options.user_column].iloc[again])
                break
            if self.stop.wait(backoff.delay_s(failures + 1, first_s=_FIRST_S, last_s=_LAST_S)):
                break
            newer = self._answered(sent.iloc[again])
            answers = frames.put(answers, again, newer)
            left = self._not_ready(sent, answers)
            failures = failures + 1 if len(left) == len(again) else 0
        answers.index = rows.index
        return rows.assign(**{name: answers[name] for name in frames.ANSWERS})

    def _answered(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        if not len(rows):
            return frames.nothing()
        options = self._options
        return self._asker.ask(rows, options.user_column, self.stop, omit_missing=options.omit_missing)

    def _not_ready(self, rows: "pd.DataFrame", answers: "pd.DataFrame") -> list[int]:
        """Return the rows that another request may answer."""
        again = answers["status"].isin(_AGAIN)
        if not again.any():
            return []
        again &= ~answers["reason"].isin(_lasting())
        found: list[int] = again.to_numpy().nonzero()[0].tolist()
        if self._given_up:
            users = rows[self._options.user_column].tolist()
            found = [row for row in found if users[row] not in self._given_up]
        return found


@cache
def _lasting() -> frozenset[str]:
    """Return the reasons that time alone does not mend, or only where a person looks after it."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    return frozenset(kind.reason for kind in kinds if not kind.retryable) | {
        errors.ArtifactNotFound.reason,
        errors.ModelQuarantined.reason,  # it ends processes
    }


_lock = threading.Lock()
_askers: dict[tuple[Any, ...], Asker] = {}
_servers: list[LocalServer] = []
_of_process: list[int] = [0]


def _asker_of(options: Options) -> Asker:
    """Return what asks these servers in this process; made at the first call, also after a fork."""
    urls = (options.url,) if isinstance(options.url, str) else tuple(options.url or ())
    key = os.environ.get("TENANTRY_API_KEY", "") if options.key is None else options.key
    local = None if options.local is None else str(options.local)
    known = (urls, local, key, options.timeout_s, options.retries)
    with _lock:
        if _of_process != [os.getpid()]:
            _askers.clear()
            _servers.clear()
            _of_process[:] = [os.getpid()]
        if known not in _askers:
            limits: dict[str, Any] = {"timeout_s": options.timeout_s, "retries": options.retries}
            if local is None:
                _askers[known] = Asker(urls, key=key, **limits)
            else:
                server = LocalServer(local)
                _servers.append(server)
                _askers[known] = Asker([server.url], gone=server.check, **limits)
        return _askers[known]


def close() -> None:
    """Close the connections that this process keeps, and end its own servers; a later call makes new ones.

    It is also done where the process ends.
    """
    with _lock:
        if _of_process == [os.getpid()]:
            for asker in _askers.values():
                asker.close()
            for server in _servers:
                server.close()
        _askers.clear()
        _servers.clear()


atexit.register(close)
