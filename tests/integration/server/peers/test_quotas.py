"""A limit is one number for three servers, whichever of them is asked, and however many hold the model."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest

from tenantry.manifest.limits import Limits
from tenantry_server.access.gate import Gate
from tenantry_server.access.hops import Hops
from tenantry_server.protocols.fast_path import FastPath
from tenantry_server.quotas.told import Told
from tenantry_server.toys import SlowModel, SumModel
from tenantry_server.wire.later import Later
from tests.support.processes import cluster
from tests.support.processes.cluster import Cluster
from tests.support.tenants.callers import gate_of, shown

ROWS = {"instances": [[1.0, 2.0]]}
V2 = {"inputs": [{"name": "input", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}]}
SECRET = "of the fleet"  # noqa: S105 - of the test's own
FEW = Limits(requests_per_second=0.001, burst=12)  # so slow that the clock plays no part


class Quick(SumModel):
    """Says that it only computes, so that it is answered at once from its second call on."""

    may_block = False


async def post(
    session: aiohttp.ClientSession, url: str, body: object = ROWS
) -> tuple[int, Mapping[str, str], Any]:
    async with session.post(url, json=body) as response:
        return response.status, dict(response.headers), await response.json()


async def statuses(three: Cluster, path: str, requests: int, body: object = ROWS) -> Counter[int]:
    """Of requests that go to the three servers in turn, one after the other."""
    found: Counter[int] = Counter()
    async with aiohttp.ClientSession() as session:
        for number in range(requests):
            node = three["abc"[number % 3]]
            status, _, _ = await post(session, f"{node.url}{path}", body)
            found[status] += 1
    return found


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("model", [Quick, SumModel])
async def test_twelve_requests_are_answered_over_all_servers(model: type[SumModel], replicas: int) -> None:
    models = {"ann": model, "bob": model}
    async with cluster.running(
        models,
        {"ann": "b", "bob": "c"},
        replicas={"ann": replicas},
        limits={"ann": FEW},
    ) as three:
        assert await statuses(three, "/predict/ann", 60) == {200: 12, 429: 48}
        assert await statuses(three, "/predict/bob", 30) == {200: 30}, "nobody else notices"


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/models/ann:predict", ROWS), ("/v2/models/ann/infer", V2), ("/predict/ann?long=way", ROWS)],
)
async def test_every_protocol_counts(path: str, body: object) -> None:
    async with cluster.running({"ann": Quick}, {"ann": "b"}, limits={"ann": FEW}) as three:
        assert await statuses(three, "/predict/ann", 6) == {200: 6}
        assert await statuses(three, path, 12, body) == {200: 6, 429: 6}


async def test_a_copy_of_a_limited_users_model_does_not_answer() -> None:
    """A server that has the model in memory, and does not hold it, would answer at once else."""
    async with cluster.running({"ann": Quick}, {"ann": "b"}, limits={"ann": FEW}) as three:
        hop = {"Tenantry-Hop": "test"}
        async with aiohttp.ClientSession() as session:
            for _ in range(3):  # as a stand-in for b, which does not count for b
                async with session.post(
                    f"{three['a'].url}/predict/ann", json=ROWS, headers=hop
                ) as response:
                    assert response.headers["Tenantry-Server"] == "a"
            async with session.post(f"{three['a'].url}/predict/ann", json=ROWS) as response:
                assert response.headers["Tenantry-Server"] == "b"


@pytest.mark.parametrize("path", ["/predict/ann", "/predict/ann?long=way", "/v1/models/ann:predict"])
async def test_no_caller_gets_past_a_limit_by_posing_as_a_server(path: str) -> None:
    """A request that was passed on is answered where it arrives: each server would count for itself."""

    def gate(hops: Hops) -> Gate:
        return gate_of({"key": ["ann"]}, hops)

    async with cluster.running(
        {"ann": Quick}, {"ann": "b"}, limits={"ann": FEW}, secret=SECRET, gate=gate
    ) as three:
        found: Counter[tuple[int, bool]] = Counter()
        async with aiohttp.ClientSession(headers=shown("key")) as session:
            for number in range(60):
                posing = number % 2 == 0
                url = f"{three['abc'[number % 3]].url}{path}"
                sent = {"Tenantry-Hop": "a"} if posing else {}
                async with session.post(url, json=ROWS, headers=sent) as response:
                    found[response.status, posing] += 1
        assert found == {(401, True): 30, (200, False): 12, (429, False): 18}


async def test_a_server_that_was_told_refuses_by_itself() -> None:
    async with cluster.running({"ann": Quick}, {"ann": "b"}, limits={"ann": FEW}) as three:
        await statuses(three, "/predict/ann", 40)
        before = three["b"].quotas.refused["requests_per_second"]
        async with aiohttp.ClientSession() as session:
            for _ in range(20):
                status, headers, document = await post(session, f"{three['a'].url}/predict/ann")
                assert status == 429
                assert headers["Tenantry-Reason"] == "QuotaExceeded"
                assert int(headers["Retry-After"]) >= 1
                assert int(headers["Tenantry-Retry-After-Ms"]) > 1000
                assert "0.001 requests a second, 12 at once" in str(document["error"])
        assert three["b"].quotas.refused["requests_per_second"] == before


@pytest.mark.parametrize("model", [Quick, SumModel])
@pytest.mark.parametrize(
    ("path", "body"),
    [("/predict/ann", ROWS), ("/v1/models/ann:predict", ROWS), ("/v2/models/ann/infer", V2)],
)
async def test_the_fast_path_refuses_in_the_applications_words(
    path: str, body: object, model: type[SumModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the user's requests are counted, and where that server said so; of models in threads, too."""
    refused = []
    whole = FastPath.answer

    def noted(self: FastPath, *given: Any) -> bytes | Later | None:
        answer = whole(self, *given)
        if isinstance(answer, bytes) and answer[9:12] == b"429":
            refused.append(answer)
        return answer

    async with cluster.running({"ann": model}, {"ann": "b"}, limits={"ann": FEW}) as three:
        await statuses(three, "/predict/ann", 40)
        for node in three.nodes.values():
            node.quotas._clock_s = lambda: 5.0
            node.quotas._told = Told(lambda: 5.0)
            node.quotas._told.put("ann", 5.0)
        three["b"].quotas._rates.of("ann").due_s = 20_000.0
        monkeypatch.setattr(FastPath, "answer", noted)
        for name in "ab":
            async with aiohttp.ClientSession() as session:
                url = f"{three[name].url}{path}"
                expected = await post(session, f"{url}?the=long+way", body)
                assert (expected[0], refused) == (429, [])
                await post(session, url, body)  # its head is known then
                seen = await post(session, url, body)
                dates = [headers.pop("Date") for headers in (expected[1], seen[1])]  # type: ignore[attr-defined]
                assert (len(dates), seen) == (2, expected)
                assert refused
                refused.clear()


async def test_a_stand_in_counts_where_the_holder_is_gone() -> None:
    async with cluster.running({"ann": Quick}, {"ann": "b"}, limits={"ann": FEW}) as three:
        assert await statuses(three, "/predict/ann", 3) == {200: 3}
        await three["b"].stop()
        found: Counter[int] = Counter()
        async with aiohttp.ClientSession() as session:
            for number in range(60):
                node = three["ac"[number % 2]]
                status, _, _ = await post(session, f"{node.url}/predict/ann")
                found[status] += 1
        assert set(found) == {200, 429}
        assert 12 <= found[200] <= 24  # what of a full burst each of the two counts, by whom they ask


@pytest.mark.parametrize("replicas", [1, 2])
async def test_as_many_requests_as_may_be_are_under_way_over_all_servers(replicas: int) -> None:
    """Slow ones all at once: some are answered, the rest is refused, and the next round is as the first."""
    async with cluster.running(
        {"ann": lambda: SlowModel(0.3)},
        {"ann": "b"},
        replicas={"ann": replicas},
        limits={"ann": Limits(concurrency=4)},
    ) as three:
        await statuses(three, "/predict/ann", 6)  # it is loaded
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                urls = [f"{three['abc'[n % 3]].url}/predict/ann" for n in range(30)]
                answers = await asyncio.gather(*(post(session, url) for url in urls))
                found = Counter(status for status, _, _ in answers)
                assert set(found) <= {200, 429}
                assert 1 <= found[200] <= 8, "four at a time, and those that came when the first had ended"


async def test_rows_are_bounded_wherever_they_arrive() -> None:
    limits = {"ann": Limits(rows=2)}
    async with cluster.running({"ann": Quick}, {"ann": "b"}, limits=limits) as three:
        two, three_rows = ({"instances": [[1.0, 2.0]] * count} for count in (2, 3))
        assert await statuses(three, "/predict/ann", 6, two) == {200: 6}
        assert await statuses(three, "/predict/ann", 6, three_rows) == {413: 6}


@pytest.mark.parametrize("model", [Quick, SumModel])
async def test_rows_of_a_batch_count_as_one_request_of_their_user(model: type[SumModel]) -> None:
    async with cluster.running(
        {"ann": model, "bob": model}, {"ann": "b", "bob": "c"}, limits={"ann": FEW}
    ) as three:
        rows = {"rows": [{"user_id": user, "x": 1.0, "y": 2.0} for user in ("ann", "bob", "ann")]}
        answers = []
        async with aiohttp.ClientSession() as session:
            for number in range(20):
                url = f"{three['abc'[number % 3]].url}/predict"
                status, _, document = await post(session, url, rows)
                assert status == 200
                assert document["predictions"][1] == 3.0, "nobody else notices"
                reasons = {each["reason"] for each in document["errors"]}
                answers.append((document["predictions"][0], len(document["errors"]), reasons))
        assert answers == [(3.0, 0, set())] * 12 + [(None, 2, {"QuotaExceeded"})] * 8
