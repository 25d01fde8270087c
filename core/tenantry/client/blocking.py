"""The client for programs with threads, or without: on http.client, which Python has."""

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from typing import Any, Self

from tenantry.client import answers, questions
from tenantry.client.answers import Forecast, Predictions, Reply
from tenantry.client.batches import Batch, BatchPredictions, Part
from tenantry.client.call import Call
from tenantry.client.errors import ClientError
from tenantry.client.fleet import MAP_S, Fleet
from tenantry.client.questions import Question
from tenantry.client.transport import Transport
from tenantry.trust import tls

_SIDE_BY_SIDE = 8  # requests of one call


class Client:
    """Asks the models of users, each at the server that holds it; may be shared by threads.

    It learns from ``GET /shards`` which server owns which user, and from every answer whether that has
    changed. Where the servers can't be reached from here, it goes on asking those that it was given.

    Asked again, within the time of the call, is only what ran no model: a request for which no connection
    could be made, and one that was answered with 503 and Retry-After.

    Args:
        servers: base URL of one server, or of several, or of a balancer in front of them.
        timeout_s: of each call, with everything that it waits for.
        direct: whether to ask the owner of a user's shard; otherwise only `servers` are asked.
        headers: sent with each request, such as Authorization, to every server of the map.
        ca: file with the certificates, in PEM, of the CA that signs those of servers; None: the one that
            TENANTRY_TLS_CA names, else the system's.

    Raises:
        ValueError: an address is not http://… or https://….
        InvalidSetting: `ca` can't be used.

    Example:
        >>> with Client("http://127.0.0.1:8080") as client:  # doctest: +SKIP
        ...     client.predict("store-042", [{"km": 5.0}]).values
        [20.0]
    """

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        timeout_s: float = 10.0,
        direct: bool = True,
        headers: Mapping[str, str] | None = None,
        ca: str | os.PathLike[str] | None = None,
    ) -> None:
        given = [servers] if isinstance(servers, str) else servers
        self._fleet = Fleet(given, direct=direct)
        self._timeout_s = timeout_s
        sent = {"Content-Type": "application/json", **(headers or {})}
        self._transport = Transport(tls.trusting(ca), sent)

    def predict(
        self,
        user_id: str,
        rows: Any,
        *,
        timeout_s: float | None = None,
        class_names: bool = False,
        fresh: bool = False,
    ) -> Predictions:
        """Return the predictions of this user's model, one for each row.

        Args:
            rows: a DataFrame; a list of records (dicts by column), matched by name; or an array, or lists,
                of shape (rows, columns) in the model's own order. NaN, NaT and None are missing values.
            timeout_s: of this call; None: that of the client.
            class_names: probabilities as objects, by the names of classes that the model's card has.
            fresh: `Unavailable` rather than the last known model, while the registry is out of reach.

        Raises:
            NotAssigned: no TenantModel names this user.
            RequestRefused: the rows are not what the model takes; its words name the row and column.
            ModelFailed: the model raised, or ended its process.
            Unavailable: not now; `retry_after_s` says when.
            DeadlineExceeded: the time is over.
            NoServer: no server accepts a connection.
            AnswerLost: the connection broke meanwhile; the request is not repeated.
        """
        question = questions.predict(user_id, rows, class_names=class_names, fresh=fresh)
        return answers.predictions(self._ask(question, timeout_s))

    def predict_many(
        self,
        rows: Any,
        *,
        user_column: str = "user_id",
        timeout_s: float | None = None,
        fresh: bool = False,
    ) -> BatchPredictions:
        """Return the predictions for rows that each name their user, each by its user's own model.

        Each server that holds some of the users is asked in a request of its own, at the same time; a
        DataFrame goes as Arrow where pyarrow is installed. What is wrong with one row, one user or one
        server is the value of those rows, an error that `predict` would raise.

        Args:
            rows: a DataFrame, or a list of records (dicts by column).
            user_column: the column with the user of each row; no model gets it.
            timeout_s: of all of it; None: that of the client.
            fresh: as `predict`.

        Raises:
            RequestRefused: they are not rows, hold what can't be sent, or have no such column.
        """
        left_s = self._timeout_s if timeout_s is None else timeout_s
        ends_s = time.monotonic() + left_s
        if self._fleet.wants_map():
            self._read_map("", left_s)
        batch = Batch(rows, user_column, lambda user: self._fleet.order(user)[0], fresh=fresh)
        with ThreadPoolExecutor(_SIDE_BY_SIDE, "predict-many") as pool:
            list(pool.map(partial(self._ask_part, batch, ends_s), batch.parts))
        return batch.predictions()

    def _ask_part(self, batch: Batch, ends_s: float, part: Part) -> None:
        try:
            given: Reply | ClientError = self._ask(part.question, max(0.0, ends_s - time.monotonic()))
        except ClientError as error:
            given = error
        for other in batch.answered(part, given):
            self._ask_part(batch, ends_s, other)

    def forecast(
        self,
        user_id: str,
        horizon: int,
        *,
        start: str | int | None = None,
        quantiles: Sequence[float] | None = None,
        exog: Any = None,
        history: Any = None,
        timeout_s: float | None = None,
    ) -> Forecast:
        """Return the forecast of this user's model.

        Args:
            horizon: how many steps, 1 to 10,000.
            start: the first step, a time (ISO 8601) or a number; None: the one after the series.
            quantiles: between 0 and 1.
            exog: a DataFrame or records of exogenous columns, one row for each step.
            history: the same with the columns time and value, in the place of the model's own series.
            timeout_s: of this call; None: that of the client.

        Raises:
            ClientError: as `predict`.
        """
        options = {"from": start, "quantiles": quantiles, "exog": exog, "history": history}
        return answers.forecast(self._ask(questions.forecast(user_id, horizon, **options), timeout_s))

    def metadata(self, user_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return what this user's model takes and gives, as the Open Inference Protocol V2 describes it.

        Raises:
            ClientError: as `predict`.
        """
        return answers.described(self._ask(questions.metadata(user_id), timeout_s))

    def card(self, user_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the card of this user's model: its columns, example rows and their answers.

        Raises:
            NotAssigned: no TenantModel names this user, or the model has no card.
            ClientError: as `predict`.
        """
        return answers.described(self._ask(questions.card(user_id), timeout_s))

    def close(self) -> None:
        """Close the connections that are kept; a later call opens new ones."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, question: Question, timeout_s: float | None) -> Reply:
        call = Call(question, self._fleet, timeout_s=self._timeout_s if timeout_s is None else timeout_s)
        if self._fleet.wants_map():
            self._read_map(call.user_id, call.left_s)
            call.plan()
        return self._answer(call, question)

    def _answer(self, call: Call, question: Question) -> Reply:
        while True:
            attempt = call.next()
            if attempt.wait_s:
                time.sleep(attempt.wait_s)
            try:
                connection = self._transport.connected(attempt)
            except OSError as error:
                call.not_sent(attempt, error)
                continue
            try:
                reply = self._transport.exchange(connection, attempt, question)
            except TimeoutError:
                raise call.timed_out() from None
            except (OSError, HTTPException) as error:
                call.lost(attempt, error or type(error).__name__)
                continue
            answer = call.answered(attempt, reply)
            if answer is not None:
                return answer

    def _read_map(self, user_id: str, left_s: float) -> None:
        """Read the shard map within a second; without an answer the call goes on by the map as it was."""
        asked = self._fleet.map_question(user_id)
        mapping = Call(asked, self._fleet, timeout_s=min(MAP_S, left_s))
        with suppress(ClientError):
            self._fleet.map_answered(self._answer(mapping, asked))
