"""Loads the next model of each user this server owns, beside the one that answers, and reports."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import structlog

from tenantry import TenantryError
from tenantry.errors import ModelCrashed, SignatureRefused
from tenantry.processes import backoff
from tenantry.registry import Assignment, LoadReport, LoadState
from tenantry_server.memory.resident import Resident

log = structlog.get_logger(__name__)

_PARALLEL = 2  # enough to overlap reading with deserialising; more only delays predictions
_FIRST_RETRY_S = 0.5
_LAST_RETRY_S = 30.0
_LAST_REFUSED_S = 300.0  # a signature may come without a word, and ten thousand may be missing
_CRASHES = 2  # of a worker, after which a candidate is not tried again


_REFUSED = frozenset(kind.reason for kind in SignatureRefused.__subclasses__())


@dataclass(slots=True, eq=False)
class _Request:
    """A request to load one candidate. Asking again after `forget` creates a new request.

    Attributes:
        revision: of the row that asked.
        answered: a final report was given; only a newer row asks again.
        refused: that report, where its signature was not accepted: it is tried again now and then.
        again: the timer of the next try; None: there is none.
    """

    user_id: str
    candidate_id: str
    revision: int
    failures: int = 0
    answered: bool = False
    refused: LoadReport | None = None
    again: asyncio.TimerHandle | None = None


class CandidateLoader:
    """Tries candidates a few at a time, and remembers what to report to the operator.

    Args:
        load: loads a model into the model cache, measured.
        server_id: for the reports.
        reported: called when there is something to report.
        check: called with the user, the model id and the loaded model; raises where the user may not have
            it.
    """

    def __init__(
        self,
        load: Callable[[str], Awaitable[Resident]],
        server_id: str,
        reported: Callable[[], None],
        check: Callable[[str, str, Resident], None] = lambda *_: None,
    ) -> None:
        self._load = load
        self._server_id = server_id
        self._reported = reported
        self._check = check
        self._requests: dict[str, _Request] = {}
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        self._reports: dict[str, LoadReport] = {}

    def request(self, assignment: Assignment) -> None:
        """Request the load of this candidate, unless it is under way; forget an older one of the user."""
        candidate_id = assignment.candidate_id
        if candidate_id is None:
            self.forget(assignment.user_id)
        elif not self._is_asked(assignment.user_id, candidate_id, assignment.revision):
            self.forget(assignment.user_id)
            request = _Request(assignment.user_id, candidate_id, assignment.revision)
            self._requests[assignment.user_id] = request
            self._queue.put_nowait(request)

    def forget(self, user_id: str) -> None:
        """Drop the request for this user."""
        self._requests.pop(user_id, None)
        self._reports.pop(user_id, None)

    def forget_others(self, user_ids: Collection[str]) -> None:
        """Drop the requests for all users but these."""
        for user_id in self._requests.keys() - set(user_ids):
            self.forget(user_id)

    def forget_all(self) -> None:
        """Drop every request: what was reported may be lost, and revisions may be given out again."""
        self._requests.clear()
        self._reports.clear()

    def try_refused(self) -> None:
        """Try those now whose signature was not accepted: other signers are trusted."""
        for request in self._requests.values():
            if request.refused is not None and request.again is not None:
                request.again.cancel()
                request.again, request.failures = None, 0
                self._queue.put_nowait(request)

    def take_reports(self) -> list[LoadReport]:
        """Return the new reports; give them to `put_back` where the registry does not take them."""
        reports = list(self._reports.values())
        self._reports.clear()
        return reports

    def put_back(self, reports: list[LoadReport]) -> None:
        """Report these later, unless a newer report exists by now."""
        for report in reports:
            if self._is_current(report.user_id, report.model_id):
                self._reports.setdefault(report.user_id, report)

    def _is_current(self, user_id: str, candidate_id: str) -> bool:
        request = self._requests.get(user_id)
        return request is not None and request.candidate_id == candidate_id

    def _is_asked(self, user_id: str, candidate_id: str, revision: int) -> bool:
        """Return whether a report on this row is on its way, or given."""
        request = self._requests.get(user_id)
        if request is None or request.candidate_id != candidate_id:
            return False
        return not request.answered or revision <= request.revision

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(_PARALLEL):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            request = await self._queue.get()
            if self._requests.get(request.user_id) is not request:
                continue
            report = await self._try(request)
            if self._requests.get(request.user_id) is not request:
                continue
            if report != request.refused or report.user_id in self._reports:
                self._reports[request.user_id] = report
                self._reported()
            request.answered = report.state is not LoadState.RETRYING
            request.refused = report if report.reason in _REFUSED else None
            if not request.answered or request.refused is not None:
                self._try_later(request)

    def _try_later(self, request: _Request) -> None:
        request.failures += 1
        last_s = _LAST_RETRY_S if request.refused is None else _LAST_REFUSED_S
        wait_s = backoff.delay_s(request.failures, first_s=_FIRST_RETRY_S, last_s=last_s)
        request.again = asyncio.get_running_loop().call_later(wait_s, self._queue.put_nowait, request)

    async def _try(self, request: _Request) -> LoadReport:
        user_id, candidate_id = request.user_id, request.candidate_id
        try:
            resident = await self._load(candidate_id)
            self._check(user_id, candidate_id, resident)
        except TenantryError as error:
            again = error.retryable or (isinstance(error, ModelCrashed) and error.strikes < _CRASHES)
            state = LoadState.RETRYING if again else LoadState.FAILED
            log.warning("candidate failed", user=user_id, reason=error.reason, error=str(error))
            return LoadReport(user_id, self._server_id, candidate_id, state, None, error.reason, str(error))
        except Exception as error:
            # A loader is a stranger's code: an exception of it must not end the loop for the others.
            log.exception("candidate failed", user=user_id)
            return LoadReport(
                user_id,
                self._server_id,
                candidate_id,
                LoadState.FAILED,
                None,
                "LoadFailed",
                f"{type(error).__name__}: {error}",
            )
        return LoadReport(user_id, self._server_id, candidate_id, LoadState.LOADED, resident.size_bytes)
