"""The status writer on a real API server: what it writes, and when it holds back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tenantry import TenantModel
from tenantry.manifest.status import State, Status, since
from tenantry.registry import Claim
from tenantry.tracing.sampling import Sampler
from tenantry.tracing.spans import Span
from tenantry_operator.cluster import objects, status_writer
from tenantry_operator.cluster.client import Cluster
from tenantry_operator.cluster.status_writer import StatusWriter
from tenantry_operator.metrics import OperatorMetrics
from tenantry_operator.tracing import Changes
from tests.support import waiting
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import TENANT_MODELS, install_crd


class Desk:
    """A writer at work, and one object for it."""

    def __init__(self, plane: ControlPlane, writer: StatusWriter, metrics: OperatorMetrics) -> None:
        self.plane = plane
        self.writer = writer
        self._metrics = metrics

    async def create(self, name: str) -> dict[str, Any]:
        model = {"uri": "file:///nowhere/at-all.joblib"}
        head = {"apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel", "metadata": {"name": name}}
        document = TenantModel.parse({**head, "spec": {"userId": name, "model": model}}).to_manifest()
        status, body = await asyncio.to_thread(self.plane.request, "POST", TENANT_MODELS, document)
        assert status == 201, body
        return dict(body)

    async def get(self, name: str) -> dict[str, Any]:
        return dict((await asyncio.to_thread(self.plane.request, "GET", f"{TENANT_MODELS}/{name}"))[1])

    async def label(self, name: str) -> None:
        """Somebody else writes to the object."""
        found = await self.get(name)
        found["metadata"]["labels"] = {"team": "a"}
        path = f"{TENANT_MODELS}/{name}"
        assert (await asyncio.to_thread(self.plane.request, "PUT", path, found))[0] == 200

    def writes(self, result: str = "written") -> float:
        found = [line for line in self._metrics.text().decode().splitlines() if f'="{result}"}} ' in line]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


def claim_for(document: dict[str, Any], state: State = State.READY, reason: str = "Ready") -> Claim:
    metadata = document["metadata"]
    status = Status(state, reason, "as the test says", metadata["generation"], "file:///m#sha256=1", 7)
    return Claim(
        uid=metadata["uid"],
        namespace="default",
        name=metadata["name"],
        user_id=metadata["name"],
        created_at=0.0,
        generation=metadata["generation"],
        spec=document["spec"],
        status=status,
        since=since(None, {}, status, 0.0),
    )


def claim_of_before(document: dict[str, Any]) -> Claim:
    claim = claim_for(document)
    assert claim.status is not None
    older = replace(claim.status, observed_generation=claim.generation - 1, model_id="file:///m#sha256=0")
    return replace(claim, status=older)


@asynccontextmanager
async def at_work(
    plane: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    leads: Callable[[], bool] = lambda: True,
    changes: Changes | None = None,
) -> AsyncIterator[Desk]:
    install_crd(plane)
    monkeypatch.setenv("KUBECONFIG", str(plane.kubeconfig))
    metrics = OperatorMetrics(changes)
    async with Cluster("default") as cluster:
        writer = StatusWriter(cluster, leads, metrics)
        working = asyncio.create_task(writer.run())
        try:
            yield Desk(plane, writer, metrics)
        finally:
            working.cancel()
            items = (await asyncio.to_thread(plane.request, "GET", TENANT_MODELS))[1]["items"]
            for item in items:
                path = f"{TENANT_MODELS}/{item['metadata']['name']}"
                await asyncio.to_thread(plane.request, "DELETE", path)


async def until(condition: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(waiting.until, condition, what)


async def test_whichever_side_is_known_first_it_is_written_once(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(plane, monkeypatch) as desk:
        first, second = await desk.create("first"), await desk.create("second")
        desk.writer.seen(first["metadata"]["uid"], objects.seen(first))
        desk.writer.decided(claim_for(first))
        desk.writer.decided(claim_for(second))
        desk.writer.seen(second["metadata"]["uid"], objects.seen(second))
        await until(lambda: desk.writes() == 2, "both are written")
        for name in ("first", "second"):
            now = await desk.get(name)
            assert now["status"]["conditions"][0]["status"] == "True"
            assert desk.writer.knows(now["metadata"]["uid"], now["metadata"]["resourceVersion"])
            desk.writer.seen(now["metadata"]["uid"], objects.seen(now))  # the watch tells of our own write
            desk.writer.decided(claim_for(now))
        third = await desk.create("third")
        desk.writer.seen(third["metadata"]["uid"], objects.seen(third))
        desk.writer.decided(claim_for(third))
        await until(lambda: desk.writes() == 3, "the next one, and not the others again")


async def test_a_trace_ends_when_its_status_is_written(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when it was decided, and not with the status of something that is still under way."""
    ended: list[Span] = []
    changes = Changes(Sampler(1.0, follows=True, ended=ended.append), writes_statuses=True)
    async with at_work(plane, monkeypatch, changes=changes) as desk:
        found = await desk.create("traced")
        claim = claim_for(found)
        assert claim.status is not None
        changes.begin(objects.declaration(found), None)
        changes.decided(claim.uid, "traced", claim.status, None, is_news=True)
        assert ended == []
        desk.writer.seen(claim.uid, objects.seen(found))
        desk.writer.decided(claim)
        await until(lambda: len(ended) == 2, "the write, and the whole")
    write, root = ended
    assert (write.name, write.parent_id) == ("write status", root.span_id)
    assert (root.name, root.attributes["tenantry.ended_by"]) == ("apply TenantModel", "status")
    assert root.began_ns <= write.began_ns <= write.ended_ns <= root.ended_ns


async def test_over_somebody_elses_write_it_looks_once_more(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with at_work(plane, monkeypatch) as desk:
        found = await desk.create("busy")
        await desk.label("busy")
        desk.writer.seen(found["metadata"]["uid"], objects.seen(found))  # which is out of date
        desk.writer.decided(claim_for(found))
        await until(lambda: desk.writes() == 1, "written over what stands now")
        assert desk.writes("conflict") == 1
        assert (await desk.get("busy"))["metadata"]["labels"] == {"team": "a"}


async def test_an_older_page_never_overtakes_what_an_event_told(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the status of the newer generation would wait for an event that has been."""
    async with at_work(plane, monkeypatch) as desk:
        first = await desk.create("paged")
        changed = await desk.get("paged")
        changed["spec"]["model"]["uri"] = "file:///elsewhere.joblib"
        path = f"{TENANT_MODELS}/paged"
        second = (await asyncio.to_thread(plane.request, "PUT", path, changed))[1]
        assert second["metadata"]["generation"] == 2
        desk.writer.seen(second["metadata"]["uid"], objects.seen(second))
        desk.writer.seen(first["metadata"]["uid"], objects.seen(first))
        desk.writer.decided(claim_for(second))
        await until(lambda: desk.writes() == 1, "written")
        assert (await desk.get("paged"))["status"]["observedGeneration"] == 2


async def test_a_page_from_before_our_write_costs_no_second_one(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing of many pages takes a while, and statuses are written meanwhile."""
    async with at_work(plane, monkeypatch) as desk:
        desk.writer.listing_begins()
        stale = await desk.create("listed")
        desk.writer.seen(stale["metadata"]["uid"], objects.seen(stale))
        desk.writer.decided(claim_for(stale))
        await until(lambda: desk.writes() == 1, "written")
        desk.writer.listed(stale["metadata"]["uid"], objects.seen(stale))
        other = await desk.create("other")
        desk.writer.seen(other["metadata"]["uid"], objects.seen(other))
        desk.writer.decided(claim_for(other))
        await until(lambda: desk.writes() == 2, "the next one is")
        assert desk.writes("conflict") == 0
        desk.writer.listing_begins()
        await desk.label("listed")
        desk.writer.listed(stale["metadata"]["uid"], objects.seen(await desk.get("listed")))
        now = await desk.get("listed")
        assert desk.writer.knows(now["metadata"]["uid"], now["metadata"]["resourceVersion"])


async def test_whoever_may_not_lead_any_more_writes_nothing(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that was paused may wake up with a status in hand that its successor knows better."""
    leading = False
    asked = asyncio.Event()

    def leads() -> bool:
        asked.set()
        return leading

    monkeypatch.setattr(status_writer, "_FIRST_RETRY_S", 0.05)
    async with at_work(plane, monkeypatch, leads) as desk:
        found = await desk.create("held-back")
        desk.writer.seen(found["metadata"]["uid"], objects.seen(found))
        desk.writer.decided(claim_for(found))
        async with asyncio.timeout(30):
            await asked.wait()
        assert (await desk.get("held-back"))["status"] == {"observedGeneration": -1}
        assert desk.writes() == 0
        leading = True  # it renewed the lease after all
        await until(lambda: desk.writes() == 1, "now it may")


async def test_a_status_that_is_refused_keeps_nobody_else_from_theirs(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_writer, "_FIRST_RETRY_S", 0.01)
    async with at_work(plane, monkeypatch) as desk:
        bad, good = await desk.create("bad"), await desk.create("good")
        wrong = replace(claim_for(bad), since={"Ready": "long ago"})
        for document, claim in ((bad, wrong), (good, claim_for(good))):
            desk.writer.seen(document["metadata"]["uid"], objects.seen(document))
            desk.writer.decided(claim)
        await until(lambda: desk.writes() == 1, "the good one is written")
        await until(lambda: desk.writes("failed") >= 3, "the bad one is tried again")


async def test_a_fault_of_ours_about_one_object_keeps_nobody_else_from_theirs(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_writer, "_WRITERS", 1)  # so that one that ended would be missed
    async with at_work(plane, monkeypatch) as desk:
        bad, good = await desk.create("bad"), await desk.create("good")
        for document in (bad, good):
            desk.writer.seen(document["metadata"]["uid"], objects.seen(document))
        strange = Status(State.READY, "Ready", "fine", 1, None, object())  # type: ignore[arg-type]
        desk.writer.decided(replace(claim_for(bad), status=strange))
        desk.writer.decided(claim_for(good))
        await until(lambda: desk.writes() == 1, "the good one is written")


async def test_what_is_under_way_is_written_only_if_it_stays_so(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_writer, "_UNDER_WAY_S", 0.2)
    async with at_work(plane, monkeypatch) as desk:
        quick, slow = await desk.create("quick"), await desk.create("slow")
        for document in (quick, slow):
            desk.writer.seen(document["metadata"]["uid"], objects.seen(document))
            desk.writer.decided(claim_for(document, State.RECONCILING, "Loading"))
        desk.writer.decided(claim_for(quick))
        await until(lambda: desk.writes() == 2, "one each")
        assert (await desk.get("slow"))["status"]["conditions"][0]["reason"] == "Loading"
        assert (await desk.get("quick"))["status"]["conditions"][0]["reason"] == "Ready"
        assert desk.writes() == 2


async def test_a_promise_about_a_model_that_was_lost_is_taken_back_at_once(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator that begins knows another model than Ready is said of: its registry lost commits."""
    monkeypatch.setattr(status_writer, "_UNSETTLED_S", 3600.0)
    monkeypatch.setattr(status_writer, "_UNDER_WAY_S", 3600.0)
    async with at_work(plane, monkeypatch) as desk:
        names = ("kept", "updated", "lost")
        for name in names:
            found = await desk.create(name)
            desk.writer.seen(found["metadata"]["uid"], objects.seen(found))
            desk.writer.decided(claim_for(found))
        await until(lambda: desk.writes() == 3, "Ready is said of all")
        changed = await desk.get("updated")
        changed["spec"]["model"]["uri"] = "file:///elsewhere.joblib"
        await asyncio.to_thread(plane.request, "PUT", f"{TENANT_MODELS}/updated", changed)
        metrics = OperatorMetrics()
        async with Cluster("default") as cluster:
            writer = StatusWriter(cluster, lambda: True, metrics)
            working = asyncio.create_task(writer.run())
            for name in names:
                found = await desk.get(name)
                writer.seen(found["metadata"]["uid"], objects.seen(found))
                # What its registry knew; of a generation before this one, it can't be written.
                writer.decided(claim_for(found) if name == "kept" else claim_of_before(found))
            for name in ("updated", "lost"):  # and what its source says, a moment later
                claim = claim_for(await desk.get(name), State.RECONCILING, "Loading")
                assert claim.status is not None
                older = replace(claim.status, model_id="file:///m#sha256=0")
                writer.decided(replace(claim, status=older))
            again = Desk(plane, writer, metrics)
            await until(lambda: again.writes() == 1, "the one is taken back")
            lost = await desk.get("lost")
            assert lost["status"]["conditions"][0]["status"] == "False"
            assert lost["status"]["modelId"] == "file:///m#sha256=0"
            # What a roll-out of new bytes changes breaks no promise: it is written once, at its end.
            promised = await desk.get("kept")
            rolled_out = claim_for(promised, State.RECONCILING, "RollingOut")
            assert rolled_out.status is not None
            newer = replace(rolled_out.status, model_id="file:///m#sha256=2")
            writer.decided(replace(rolled_out, status=newer))
            found = await desk.create("next")
            writer.seen(found["metadata"]["uid"], objects.seen(found))
            writer.decided(claim_for(found))
            await until(lambda: again.writes() == 2, "the next one, and not the roll-out")
            for name in ("kept", "updated"):
                assert (await desk.get(name))["status"]["conditions"][0]["status"] == "True"
            working.cancel()
