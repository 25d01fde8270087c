"""`score_batch`: what is sent, what comes back beside the rows, and what is asked again."""

import pickle
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tenantry.client import NoServer, RequestRefused, Unavailable
from tenantry.scoring import Options, close, frames, score_batch, score_batches
from tenantry.scoring.asking import Asker
from tenantry.scoring.frames import ARROW, LINES
from tests.apart.batch_server import BatchServer, Failed, Row, running

SALES = pd.DataFrame(
    {"store_id": ["0042", "0007", "0042"], "x": [1.0, 2.0, 3.0], "kind": ["a", None, "b"]}, index=[7, 8, 9]
)
score = partial(score_batch, user_column="store_id")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts take no time."""
    monkeypatch.setattr("tenantry.processes.backoff.delay_s", lambda *_args, **_options: 0.0)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with running(BatchServer()) as server:
        yield server
    close()


def test_rows_keep_their_order_columns_and_index(server: BatchServer) -> None:
    scored = score(SALES, url=server.url, rows_per_request=1)
    assert list(scored.index) == [7, 8, 9]
    assert list(scored.columns) == ["store_id", "x", "kind", "prediction", "error", "reason"]
    assert scored["prediction"].tolist() == [2.0, 4.0, 6.0]
    assert scored["prediction"].dtype == np.float64
    assert scored["error"].tolist() == [None, None, None]
    assert "prediction" not in SALES, "the caller's table stays as it was"
    assert [asked.media for asked in server.asked] == [ARROW] * 3


@pytest.mark.parametrize("arrow", [True, False])
def test_a_row_that_fails_fails_alone(server: BatchServer, arrow: bool) -> None:
    """Its words leave out its number, which counts within a request and not in the table."""

    def model(row: Row) -> float:
        if row["x"] == 2.0:
            raise Failed(422, "FeatureMismatch", "column 'x' must be smaller, got 2.0")
        return float(row["x"])

    server.model, server.arrow = model, arrow
    scored = score(SALES, url=server.url)
    assert scored["prediction"].isna().tolist() == [False, True, False]
    assert scored["error"].tolist() == [None, "column 'x' must be smaller, got 2.0", None]
    assert scored["reason"].tolist() == [None, "FeatureMismatch", None]


def test_a_server_without_arrow_gets_lines(server: BatchServer) -> None:
    """It is asked once only; missing values are null, and left out where that is wanted."""
    server.arrow = False
    for _ in range(2):
        assert score(SALES, url=server.url)["prediction"].tolist() == [2.0, 4.0, 6.0]
    assert [asked.media for asked in server.asked] == [LINES, LINES]
    assert server.asked[0].rows[1] == {"store_id": "0007", "x": 2.0, "kind": None}
    score(SALES, url=server.url, omit_missing=True, columns=["kind", "x"])
    assert server.asked[-1].rows[1] == {"store_id": "0007", "x": 2.0}


def test_only_some_columns_are_sent(server: BatchServer) -> None:
    scored = score(SALES, url=server.url, columns=["x"])
    assert server.asked[0].rows[0] == {"store_id": "0042", "x": 1.0}
    assert scored["kind"].tolist()[0] == "a"


def test_categories_and_mixed_columns_arrive_as_their_values(server: BatchServer) -> None:
    """A category is its text; a column of several types goes as JSON, which has them."""
    table = SALES.assign(
        kind=pd.Categorical(["a", "b", "a"]), store_id=SALES["store_id"].astype("category")
    )
    score(table, url=server.url)
    assert server.asked[0].rows[1] == {"store_id": "0007", "x": 2.0, "kind": "b"}
    score(SALES.assign(kind=["a", 1, 2.5]), url=server.url)
    assert server.asked[1].media == LINES
    assert [row["kind"] for row in server.asked[1].rows] == ["a", 1, 2.5]


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([1, None, 3], "Int64"),
        ([1.5, None, 3.0], "float64"),
        (["yes", None, "no"], None),
        ([[0.5, 0.5], None, [1.0, 0.0]], "object"),
    ],
)
@pytest.mark.parametrize("arrow", [True, False])
def test_predictions_keep_their_type_beside_failures(
    server: BatchServer, answers: list[Any], wanted: str | None, arrow: bool
) -> None:
    def model(row: Row) -> Any:
        answer = answers[int(row["x"]) - 1]
        if answer is None:
            raise Failed(404, "ModelNotAssigned", "no model")
        return answer

    server.model, server.arrow = model, arrow
    predictions = score(SALES, url=server.url)["prediction"]
    assert wanted in (None, str(predictions.dtype))
    assert [list(p) if isinstance(p, list | np.ndarray) else p for p in predictions.dropna()] == [
        answers[0],
        answers[2],
    ]


def _until(number: int, status: int, **headers: str) -> Callable[..., tuple[int, dict[str, str]] | None]:
    """Refuse every request before this one."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _asked, at: None if at >= number else (status, named)


@pytest.mark.parametrize("status", [0, 429, 502, 503, 504])
def test_a_request_that_got_no_answer_is_sent_again(server: BatchServer, status: int) -> None:
    server.refuse = _until(2, status)
    assert score(SALES, url=server.url)["prediction"].tolist() == [2.0, 4.0, 6.0]
    assert len(server.asked) == 3


def test_what_is_sent_again_is_bounded(server: BatchServer) -> None:
    server.refuse = _until(1000, 503)
    with pytest.raises(Unavailable, match="scripted 503"):
        score(SALES, url=server.url, retries=2)
    assert len(server.asked) == 3


def test_a_server_is_waited_for_as_long_as_it_says(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("threading.Event.wait", lambda _self, wait_s=None: waits.append(wait_s or 0.0))
    asker = Asker([server.url])
    server.refuse = _until(2, 503, Retry_After="7")
    stop = threading.Event()
    assert len(asker.ask(SALES, "store_id", stop)) == 3
    assert waits.count(7.0) == 2
    asker.close()


def test_no_server_at_all() -> None:
    with pytest.raises(NoServer, match=r"no answer from http://127\.0\.0\.1:1 in 3 attempts: .*refused"):
        score(SALES, url="http://127.0.0.1:1", retries=2)


def test_a_request_that_is_too_large_goes_in_halves(server: BatchServer) -> None:
    server.refuse = lambda asked, _number: (413, {}) if len(asked.rows) > 1 else None
    scored = score(SALES, url=server.url)
    assert scored["prediction"].tolist() == [2.0, 4.0, 6.0]
    assert scored["prediction"].dtype == np.float64
    server.refuse = _until(1000, 413)
    with pytest.raises(RequestRefused, match="one row alone is larger"):
        score(SALES, url=server.url)


def test_rows_whose_model_loads_are_asked_again(server: BatchServer) -> None:
    """As long as more of them get an answer each time, also beyond the bound; and only these rows."""
    left = {1.0: 1, 2.0: 2, 3.0: 3}

    def model(row: Row) -> float:
        if left[row["x"]]:
            left[row["x"]] -= 1
            raise Failed(503, "ModelLoading", "it loads")
        return float(row["x"])

    server.model = model
    assert score(SALES, url=server.url, retries=1)["prediction"].tolist() == [1.0, 2.0, 3.0]
    assert [len(asked.rows) for asked in server.asked] == [3, 3, 2, 1]


@pytest.mark.parametrize(
    ("status", "reason", "times"),
    [
        (503, "ModelLoading", 6),
        (503, "ModelQuarantined", 1),
        (503, "ArtifactNotFound", 1),
        (504, "Late", 3),
    ],
)
def test_a_user_that_never_answers_is_waited_for_once(
    server: BatchServer, status: int, reason: str, times: int
) -> None:
    """Not once for each piece of the table, and not at all where time mends nothing."""

    def model(row: Row) -> float:
        if row["store_id"] == "0042":
            raise Failed(status, reason, "not now")
        return 1.0

    server.model = model
    first, second = score_batches(
        [SALES, SALES], url=server.url, user_column="store_id", retries=5, in_flight=1
    )
    assert first["reason"].tolist() == second["reason"].tolist() == [reason, None, reason]
    assert len(server.asked) == times + 1


def test_the_key_is_that_of_the_environment(server: BatchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_API_KEY", "tk_1")
    score(SALES, url=server.url)
    score(SALES, url=server.url, key="tk_2")
    assert [asked.key for asked in server.asked] == ["Bearer tk_1", "Bearer tk_2"]
    server.refuse = _until(1000, 401)
    with pytest.raises(RequestRefused, match="TENANTRY_API_KEY"):
        score(SALES, url=server.url)


def test_servers_are_asked_in_turn() -> None:
    with running(BatchServer()) as one, running(BatchServer()) as two:
        score(SALES, url=[one.url, two.url], rows_per_request=1, in_flight=1)
        assert {len(one.asked), len(two.asked)} == {1, 2}
    close()


def test_an_answer_of_something_else_is_refused(
    server: BatchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "answer", lambda _asked, _column: b"<html>")
    with pytest.raises(Exception, match="is this the address of a Tenantry server"):
        score(SALES, url=server.url)
    server.refuse = _until(1000, 404)
    with pytest.raises(RequestRefused, match="does not answer POST /predict"):
        score(SALES, url=server.url)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (SALES.rename(columns={"store_id": "store"}), "no column 'store_id'.*did you mean 'store'"),
        (SALES.assign(store_id=[42, 7, 42]), "holds numbers.*lost its zeros.*read_csv"),
        (
            SALES.assign(store_id=pd.Series(["0042", 7, None], SALES.index, object)),
            "row 1, column 'store_id': a user is a text, got 7",
        ),
        (SALES.assign(prediction=1.0), "a column 'prediction' already"),
        (pd.concat([SALES, SALES[["x"]]], axis=1), "two columns have the name 'x'"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused_before_anything_is_sent(
    server: BatchServer, table: pd.DataFrame, words: str
) -> None:
    with pytest.raises(RequestRefused, match=words):
        score(table, url=server.url)
    with pytest.raises(RequestRefused, match="no column 'km' to send"):
        score(SALES, url=server.url, columns=["km"])
    assert server.asked == []


@pytest.mark.parametrize(
    "options",
    [{}, {"url": "http://a", "local": "b"}, {"url": []}, {"url": "http://a", "in_flight": 0}],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give the url|must be"):
        Options(**options)


def test_it_travels_to_other_processes(server: BatchServer) -> None:
    """As Ray, Dask and Spark send it; connections are of each process."""
    sent = pickle.loads(pickle.dumps(partial(score_batch, url=server.url, user_column="store_id")))
    assert sent(SALES)["prediction"].tolist() == [2.0, 4.0, 6.0]


def test_no_rows_are_scored_to_no_rows(server: BatchServer) -> None:
    scored = score(SALES.iloc[:0], url=server.url)
    assert list(scored.columns)[-3:] == list(frames.ANSWERS)
    assert len(scored) == 0
    assert server.asked == []


def test_infinities_are_refused_by_the_server_in_their_row() -> None:
    """JSON has none: the row alone is refused, and not the request."""
    assert b'"x":"inf"' in frames.lines_body(pd.DataFrame({"x": [np.inf, 1.0]}))
