"""The candidate loader: every candidate tried, one report for each that is still wanted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tenantry.errors import ArtifactInvalid, ArtifactUnavailable, SignatureMissing, SignatureUntrusted
from tenantry.processes import backoff
from tenantry.registry import Assignment, LoadReport, LoadState
from tenantry_server.assignments.candidate_loader import CandidateLoader
from tenantry_server.memory.resident import Resident
from tenantry_server.toys import SumModel
from tests.support.waiting import until_soon

Load = Callable[[str], Awaitable[Resident]]


def row(user_id: str, candidate_id: str | None) -> Assignment:
    return Assignment(user_id, f"uid-{user_id}", 1, None, candidate_id)


class Store:
    """Loads whatever is not broken; a closed gate holds up every load."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self, model_id: str) -> Resident:
        self.asked.append(model_id)
        await self.gate.wait()
        if model_id in self.broken:
            raise self.broken[model_id]
        return Resident(SumModel(), 42)


class Heard:
    """What the loader wants to have reported."""

    def __init__(self, store: Store) -> None:
        self.loader = CandidateLoader(store.load, "server-0", self._reported)
        self.calls = 0
        self.reports: list[LoadReport] = []

    def _reported(self) -> None:
        self.calls += 1
        self.reports += self.loader.take_reports()


@asynccontextmanager
async def working(loader: CandidateLoader) -> AsyncIterator[None]:
    task = asyncio.create_task(loader.run())
    yield
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_a_candidate_is_loaded_and_reported_with_its_size() -> None:
    store = Store()
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: heard.reports)
    assert heard.reports == [LoadReport("ann", "server-0", "a1", LoadState.LOADED, 42)]


async def test_wanting_the_same_again_loads_nothing_twice() -> None:
    """The follower says so at every change of the row, and after every complete read."""
    store = Store()
    heard = Heard(store)
    async with working(heard.loader):
        for _ in range(3):
            heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: heard.reports)
        heard.loader.request(row("ann", "a1"))
        heard.loader.request(row("bob", "b1"))
        await until_soon(lambda: len(heard.reports) == 2)
    assert store.asked == ["a1", "b1"]


async def test_a_newer_row_with_the_same_candidate_asks_again() -> None:
    """The operator writes one when an answer was lost, or when a person declared the same once more."""
    store = Store()
    store.broken["a1"] = ArtifactInvalid("file:///a1", "garbage")
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(replace(row("ann", "a1"), revision=1))
        await until_soon(lambda: heard.reports)
        del store.broken["a1"]
        heard.loader.request(replace(row("ann", "a1"), revision=2))
        await until_soon(lambda: len(heard.reports) == 2)
    assert [report.state for report in heard.reports] == [LoadState.FAILED, LoadState.LOADED]


async def test_a_failure_for_a_person_is_reported_once_with_its_reason() -> None:
    store = Store()
    store.broken["a1"] = ArtifactInvalid("file:///a1", "garbage")
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        heard.loader.request(row("bob", "b1"))
        await until_soon(lambda: len(heard.reports) == 2)
    failed = next(report for report in heard.reports if report.user_id == "ann")
    assert (failed.state, failed.reason) == (LoadState.FAILED, "ArtifactInvalid")
    assert failed.message == "file:///a1 is not a usable model: garbage"


async def test_a_strangers_error_fails_its_candidate_and_not_the_loader() -> None:
    store = Store()
    store.broken["a1"] = KeyError("a loader's bug")
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: heard.reports)
        heard.loader.request(row("bob", "b1"))
        await until_soon(lambda: len(heard.reports) == 2)
    assert heard.reports[0].state is LoadState.FAILED
    assert (heard.reports[0].reason, heard.reports[0].message) == (
        "LoadFailed",
        'KeyError: "a loader\'s bug"',
    )


async def test_what_time_can_mend_is_tried_again_until_it_loads() -> None:
    store = Store()
    store.broken["a1"] = ArtifactUnavailable("s3://b/a1", "HTTP 503")
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: heard.reports)
        store.broken.clear()
        await until_soon(lambda: len(heard.reports) == 2)
    assert [report.state for report in heard.reports] == [LoadState.RETRYING, LoadState.LOADED]
    assert heard.reports[0].reason == "ArtifactUnavailable"


async def test_a_superseded_candidate_is_not_reported() -> None:
    store = Store()
    store.gate.clear()
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        heard.loader.request(row("bob", "b1"))
        await until_soon(lambda: store.asked == ["a1", "b1"])
        heard.loader.request(row("ann", "a2"))
        heard.loader.request(row("bob", None))
        store.gate.set()
        await until_soon(lambda: heard.reports)
        await until_soon(heard.loader._queue.empty)
    assert [report.model_id for report in heard.reports] == ["a2"]


async def test_a_candidate_superseded_while_it_waited_is_not_even_loaded() -> None:
    store = Store()
    heard = Heard(store)
    heard.loader.request(row("ann", "a1"))
    heard.loader.request(row("ann", "a2"))
    async with working(heard.loader):
        await until_soon(lambda: heard.reports)
    assert store.asked == ["a2"]


async def test_a_report_of_what_is_no_longer_wanted_is_dropped() -> None:
    """It may lie here for as long as the registry is out of reach."""
    store = Store()
    loader = CandidateLoader(store.load, "server-0", lambda: None)
    async with working(loader):
        loader.request(row("ann", "a1"))
        loader.request(row("bob", "b1"))
        await until_soon(lambda: len(loader._reports) == 2)
        store.gate.clear()
        loader.request(row("ann", "a2"))
        loader.forget("bob")
        assert loader.take_reports() == []


async def test_reports_that_were_put_back_give_way_to_newer_ones() -> None:
    store = Store()
    store.broken["b1"] = ArtifactUnavailable("s3://b/b1", "HTTP 503")
    loader = CandidateLoader(store.load, "server-0", lambda: None)
    async with working(loader):
        for user_id in ("ann", "bob", "cid"):
            loader.request(row(user_id, f"{user_id[0]}1"))
        await until_soon(lambda: len(loader._reports) == 3)
        taken = loader.take_reports()
        store.broken.clear()
        await until_soon(lambda: len(loader._reports) == 1)  # bob's second try
        loader.forget("cid")
        loader.put_back(taken)
        states = {report.user_id: report.state for report in loader.take_reports()}
    assert states == {"ann": LoadState.LOADED, "bob": LoadState.LOADED}


async def test_a_shard_that_comes_and_goes_does_not_multiply_the_retries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each candidate has one turn of retries, however often it was forgotten and wanted again."""
    first_s, later_s = 0.2, 3600.0
    monkeypatch.setattr(backoff, "delay_s", lambda failures, **_: first_s if failures == 1 else later_s)
    store = Store()
    store.broken["a1"] = ArtifactUnavailable("s3://b/a1", "HTTP 503")
    heard = Heard(store)
    async with working(heard.loader):
        for number in range(1, 4):
            heard.loader.request(row("ann", "a1"))
            await until_soon(lambda number=number: len(heard.reports) == number)  # type: ignore[misc]
            heard.loader.forget("ann")
        heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: len(heard.reports) == 4)
        await asyncio.sleep(first_s + 0.05)  # every first retry has come by then, and no second one
        await until_soon(heard.loader._queue.empty)
        assert store.asked == ["a1"] * 5


async def test_a_candidate_that_hangs_leaves_a_worker_for_the_others() -> None:
    store = Store()
    store.gate.clear()
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: store.asked == ["a1"])
        store.gate = asyncio.Event()
        store.gate.set()
        heard.loader.request(row("bob", "b1"))
        await until_soon(lambda: heard.reports)
    assert heard.reports[0].user_id == "bob"


async def test_a_refused_signature_is_told_once_and_tried_again() -> None:
    """It may be put beside the artifact without a word; a repeated report would be a write in SQL."""
    store = Store()
    store.broken["a1"] = SignatureMissing("file:///a1")
    heard = Heard(store)
    async with working(heard.loader):
        heard.loader.request(row("ann", "a1"))
        await until_soon(lambda: len(store.asked) >= 2)
        assert [(each.state, each.reason) for each in heard.reports] == [
            (LoadState.FAILED, "SignatureMissing")
        ]
        store.broken["a1"] = SignatureUntrusted("file:///a1", "a stranger's")
        heard.loader.try_refused()
        await until_soon(lambda: len(heard.reports) == 2)
        del store.broken["a1"]
        heard.loader.try_refused()
        await until_soon(lambda: len(heard.reports) == 3)
        asked = len(store.asked)
        heard.loader.try_refused()
        heard.loader.request(row("bob", "b1"))
        await until_soon(lambda: len(heard.reports) == 4)
    assert [each.state for each in heard.reports[1:]] == [LoadState.FAILED, *[LoadState.LOADED] * 2]
    assert store.asked[asked:] == ["b1"], "what was loaded is not tried again"
