"""The client for programs on asyncio: on aiohttp, which the extra ``tenantry[client]`` brings."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from tenantry.client import answers, questions
from tenantry.client.answers import Forecast, Predictions, Reply
from tenantry.client.batches import Batch, BatchPredictions, Part
from tenantry.client.call import CONNECT_S, Attempt, Call
from tenantry.client.errors import ClientError
from tenantry.client.fleet import MAP_S, Fleet
from tenantry.client.pool import IDLE_S
from tenantry.client.questions import Question
from tenantry.trust import tls

if TYPE_CHECKING:
    import aiohttp


class AsyncClient:
    """As `Client`, for one event loop: its methods are coroutines, and ask side by side.

    Args:
        servers: as `Client`.
        timeout_s: of each call, with everything that it waits for.
        direct: as `Client`.
        headers, ca: as `Client`.

    Raises:
        ValueError: an address is not http://… or https://….
        InvalidSetting: `ca` can't be used.
        ModuleNotFoundError: aiohttp is not installed.

    Example:
        >>> async def ask() -> None:  # doctest: +SKIP
        ...     async with AsyncClient("http://127.0.0.1:8080") as client:
        ...         print((await client.predict("store-042", [{"km": 5.0}])).values)
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
        self._http = _aiohttp()
        given = [servers] if isinstance(servers, str) else servers
        self._fleet = Fleet(given, direct=direct)
        self._tls = tls.trusting(ca)
        self._timeout_s = timeout_s
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._session: aiohttp.ClientSession | None = None

    async def predict(
        self,
        user_id: str,
        rows: Any,
        *,
        timeout_s: float | None = None,
        class_names: bool = False,
        fresh: bool = False,
    ) -> Predictions:
        """Return the predictions of this user's model, one for each row: `Client.predict`.

        Raises:
            ClientError: as there.
        """
        question = questions.predict(user_id, rows, class_names=class_names, fresh=fresh)
        return answers.predictions(await self._ask(question, timeout_s))

    async def predict_many(
        self,
        rows: Any,
        *,
        user_column: str = "user_id",
        timeout_s: float | None = None,
        fresh: bool = False,
    ) -> BatchPredictions:
        """Return the predictions for rows that each name their user: `Client.predict_many`.

        Raises:
            RequestRefused: as there.
        """
        left_s = self._timeout_s if timeout_s is None else timeout_s
        ends_s = time.monotonic() + left_s
        if self._fleet.wants_map():
            await self._read_map("", left_s)
        batch = Batch(rows, user_column, lambda user: self._fleet.order(user)[0], fresh=fresh)
        async with asyncio.TaskGroup() as group:
            for part in batch.parts:
                group.create_task(self._ask_part(batch, ends_s, part))
        return batch.predictions()

    async def _ask_part(self, batch: Batch, ends_s: float, part: Part) -> None:
        try:
            left_s = max(0.0, ends_s - time.monotonic())
            given: Reply | ClientError = await self._ask(part.question, left_s)
        except ClientError as error:
            given = error
        for other in batch.answered(part, given):
            await self._ask_part(batch, ends_s, other)

    async def forecast(
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
        """Return the forecast of this user's model: `Client.forecast`.

        Raises:
            ClientError: as there.
        """
        options = {"from": start, "quantiles": quantiles, "exog": exog, "history": history}
        question = questions.forecast(user_id, horizon, **options)
        return answers.forecast(await self._ask(question, timeout_s))

    async def metadata(self, user_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return what this user's model takes and gives: `Client.metadata`.

        Raises:
            ClientError: as there.
        """
        return answers.described(await self._ask(questions.metadata(user_id), timeout_s))

    async def card(self, user_id: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Return the card of this user's model: `Client.card`.

        Raises:
            ClientError: as there.
        """
        return answers.described(await self._ask(questions.card(user_id), timeout_s))

    async def close(self) -> None:
        """Close the connections that are kept; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, question: Question, timeout_s: float | None) -> Reply:
        call = Call(question, self._fleet, timeout_s=self._timeout_s if timeout_s is None else timeout_s)
        if self._fleet.wants_map():
            await self._read_map(call.user_id, call.left_s)
            call.plan()
        return await self._answer(call, question)

    async def _answer(self, call: Call, question: Question) -> Reply:
        http = self._http
        while True:
            attempt = call.next()
            if attempt.wait_s:
                await asyncio.sleep(attempt.wait_s)
            try:
                reply = await self._sent(attempt, question)
            except (http.ClientConnectorError, http.ConnectionTimeoutError) as error:
                call.not_sent(attempt, error)
                continue
            except TimeoutError:
                raise call.timed_out() from None
            except (OSError, http.ClientError) as error:
                call.lost(attempt, error or type(error).__name__)
                continue
            answer = call.answered(attempt, reply)
            if answer is not None:
                return answer

    async def _read_map(self, user_id: str, left_s: float) -> None:
        """Read the shard map within a second; without an answer the call goes on by the map as it was."""
        asked = self._fleet.map_question(user_id)
        mapping = Call(asked, self._fleet, timeout_s=min(MAP_S, left_s))
        with suppress(ClientError):
            self._fleet.map_answered(await self._answer(mapping, asked))

    async def _sent(self, attempt: Attempt, question: Question) -> Reply:
        """Send a request and read its answer."""
        http = self._http
        if self._session is None:
            connector = http.TCPConnector(limit=0, keepalive_timeout=IDLE_S)
            self._session = http.ClientSession(connector=connector, cookie_jar=http.DummyCookieJar())
        for _ in range(2):  # a loop that was busy has yet to see which idle connections were closed
            await asyncio.sleep(0)
        limits = http.ClientTimeout(total=attempt.left_s, sock_connect=min(CONNECT_S, attempt.left_s))
        async with self._session.request(
            question.method,
            attempt.url + question.path,
            data=question.body,
            headers={**self._headers, **attempt.headers},
            timeout=limits,
            allow_redirects=False,
            ssl=self._tls.client() if attempt.url.startswith("https:") else True,
        ) as response:
            body = await response.read()
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, body)


def _aiohttp() -> Any:
    try:
        import aiohttp  # noqa: PLC0415 - a program without asyncio does without
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "AsyncClient needs aiohttp: pip install 'tenantry[client]'", name=error.name
        ) from None
    return aiohttp
