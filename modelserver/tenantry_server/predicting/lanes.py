"""Calls of models in a worker or a thread: one at a time for each model, batched where that pays."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from tenantry.errors import ModelCrashed, PredictionFailed
from tenantry.model import Predictions
from tenantry.processes.threads import Threads
from tenantry.tracing import spans
from tenantry_server.memory.resident import Resident
from tenantry_server.rows.payload import Payload
from tenantry_server.scoring.calls import Result, contained, score, score_together
from tenantry_server.workers.calls import remote
from tenantry_server.workers.calls.remote import WorkerModel

_BATCH_ROWS = 256  # a bound on how long the first request waits for the others' rows
_SMALL_ROWS = 16  # a call with at most so many rows is measured as small
_WORTH = 0.7  # a batch pays if it takes at most this share of the time of its calls one by one
_ALONE_AGAIN = 64  # calls after a batch that did not pay, before another one is tried


@dataclass(slots=True, eq=False)
class _Job:
    resident: Resident
    payload: Payload
    done: asyncio.Future[Predictions]


class Lanes:
    """Predicts in workers, or in a bounded number of threads; a slow model holds up its own requests only.

    Requests for one model wait for one another. The next call scores all requests that waited during the
    one before (micro-batching without an added delay), if the model's rows are independent and that was
    measured to be quicker.

    Args:
        threads: for the calls of all models.
        timeout_s: a call that takes longer ends its worker, or gives its thread's place to another one.
        aside: as `DataPlane.aside`.

    Attributes:
        in_workers_s: CPU seconds that workers have spent on calls.
    """

    def __init__(self, threads: int, *, timeout_s: float, aside: Executor) -> None:
        self._pool = Threads(threads, "predict", timeout_s=timeout_s)
        self._aside = aside
        self.timeout_s = timeout_s
        self.in_workers_s = 0.0
        self._lanes: WeakValueDictionary[str, _Lane] = WeakValueDictionary()

    async def predict(self, model_id: str, resident: Resident, payload: Payload) -> Predictions:
        """Score `payload` when it is its turn; a request that is cancelled before loses its turn.

        Raises:
            FeatureMismatch, PredictionFailed: as `scoring.score`.
        """
        lane = self._lanes.get(model_id)
        if lane is None:
            lane = self._lanes[model_id] = _Lane(self)
        where = "worker" if isinstance(resident.model, WorkerModel) else "thread"
        try:
            with spans.part(f"predict {where}", model_id=model_id):
                return await lane.enter(resident, payload)
        except (PredictionFailed, ModelCrashed) as error:
            error.model_id = model_id
            raise

    @property
    def hung(self) -> int:
        """How many calls take longer than they may."""
        return self._pool.hung

    def close(self) -> None:
        """End the threads; running calls finish by themselves."""
        self._pool.close()

    def submit(self, call: Callable[[], list[Result]]) -> "Future[list[Result]]":
        """Make a call in a thread."""
        return self._pool.submit(partial(contained, call))

    async def ask(self, model: WorkerModel, payloads: Sequence[Payload]) -> tuple[list[Result], float]:
        """Make a call in the worker of a model; return the results and the CPU seconds that they took."""
        return await remote.score(model, payloads, self.timeout_s, self._aside)


class _Lane:
    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Job] = deque()
        self._running = False
        self._alone_s = 0.0  # the latest small call that ran by itself
        self._alone_for = 0

    async def enter(self, resident: Resident, payload: Payload) -> Predictions:
        job = _Job(resident, payload, self._loop.create_future())
        self._waiting.append(job)
        if not self._running:
            self._start()
        return await job.done

    def _start(self) -> None:
        jobs = self._next_jobs()
        self._running = bool(jobs)
        if not jobs:
            return
        model = jobs[0].resident.model
        if isinstance(model, WorkerModel):
            self._ask(model, jobs)
            return
        call = self._lanes.submit(lambda: self._run(jobs))

        def ended(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has closed: no request waits any more
                self._loop.call_soon_threadsafe(self._finish, jobs, call)

        call.add_done_callback(ended)

    def _next_jobs(self) -> list[_Job]:
        """Return the next request that still waits, and those that may be scored with it."""
        jobs: list[_Job] = []
        rows = 0
        while self._waiting:
            job = self._waiting[0]
            if job.done.done():
                self._waiting.popleft()
                continue
            model = job.resident.model
            rows += len(job.payload)
            together = model.independent_rows and model.numeric and self._alone_for == 0
            if jobs and not (together and model is jobs[0].resident.model and rows <= _BATCH_ROWS):
                break
            jobs.append(self._waiting.popleft())
        return jobs

    def _run(self, jobs: Sequence[_Job]) -> list[Result]:
        """Run in a thread and measure its CPU time: waiting for the interpreter is not the model's cost."""
        resident = jobs[0].resident
        began_s = time.thread_time()
        if len(jobs) > 1:
            together = score_together(resident.model, [job.payload for job in jobs])
            self._measured(jobs, time.thread_time() - began_s)
            return together
        try:
            alone = score(resident.model, jobs[0].payload)
        except Exception:
            resident.spent_s += time.thread_time() - began_s  # as much as it cost, and no measure of a call
            raise
        self._measured(jobs, time.thread_time() - began_s)
        return [alone]

    def _ask(self, model: WorkerModel, jobs: Sequence[_Job]) -> None:
        """Ask a worker; one small request without a task, which costs as much as the call."""
        payload = jobs[0].payload
        if len(jobs) == 1 and len(payload) <= remote.FEW_ROWS and not payload.large:

            def done(result: Result, spent_s: float) -> None:
                self._lanes.in_workers_s += spent_s
                self._measured(jobs, spent_s)
                self._give(jobs, [result])

            remote.begin(model, payload, self._lanes.timeout_s, done)
            return

        def finished(task: "asyncio.Task[tuple[list[Result], float]]") -> None:
            if task.cancelled():
                return
            error = task.exception()
            results, spent_s = ([error] * len(jobs), 0.0) if isinstance(error, Exception) else task.result()
            self._lanes.in_workers_s += spent_s
            self._measured(jobs, spent_s)
            self._give(jobs, results)

        self._loop.create_task(self._lanes.ask(model, [job.payload for job in jobs])).add_done_callback(
            finished
        )

    def _measured(self, jobs: Sequence[_Job], took_s: float) -> None:
        """Take note of the CPU time of a call."""
        resident = jobs[0].resident
        resident.spent_s += took_s
        small = all(len(job.payload) <= _SMALL_ROWS for job in jobs)
        if len(jobs) > 1:
            if small and took_s > _WORTH * len(jobs) * self._alone_s:
                self._alone_for = _ALONE_AGAIN
            return
        if small:
            self._alone_s = took_s
            resident.took(took_s)
        self._alone_for = max(0, self._alone_for - 1)

    def _finish(self, jobs: Sequence[_Job], call: "Future[list[Result]]") -> None:
        try:
            results: Sequence[Result] = call.result()
        except Exception as error:
            results = [error] * len(jobs)
        self._give(jobs, results)

    def _give(self, jobs: Sequence[_Job], results: Sequence[Result]) -> None:
        for job, result in zip(jobs, results, strict=True):
            if job.done.done():
                continue
            if isinstance(result, Exception):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
        self._start()
