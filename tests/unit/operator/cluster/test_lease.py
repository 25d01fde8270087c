"""What a replica says while it can't have the Lease, and when it makes one."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from tenantry_operator.cluster import lease

_RECORD = SimpleNamespace(
    holder_identity="me",
    lease_duration="15",
    acquire_time="2026-11-29 10:00:00.5",
    renew_time="2026-11-29 10:00:00.5",
)


class _Leases:
    """The API of Leases, with one answer for each call."""

    def __init__(self, found: object, refusal: Exception | None = None) -> None:
        self.found = found
        self.refusal = refusal
        self.made: list[Any] = []

    async def read_namespaced_lease(self, *_: object) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    async def create_namespaced_lease(self, _: str, body: Any) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.made.append(body)

    async def replace_namespaced_lease(self, *_: object) -> None:
        if self.refusal is not None:
            raise self.refusal


def _refused(status: int, words: str) -> ApiException:
    error = ApiException(status=status, reason="-")
    error.body = json.dumps({"code": status, "message": words})
    return error


def _held_by(holder: str | None) -> Any:
    return client.V1Lease(spec=client.V1LeaseSpec(holder_identity=holder))


def _lock(api: _Leases) -> tuple[lease._PatientLock, list[str | None], list[float]]:
    said: list[str | None] = []
    renewed: list[float] = []
    lock = lease._PatientLock("it", "ns", "me", cast("Any", None), renewed.append, said.append)
    lock.api_instance = cast("Any", api)
    return lock, said, renewed


async def test_who_comes_first_makes_the_lease_and_holds_it() -> None:
    api = _Leases(_refused(404, "not found"))
    lock, said, renewed = _lock(api)
    assert (await lock.get("it", "ns"))[0] is False
    assert await lock.create("it", "ns", _RECORD)
    assert api.made[0].spec.holder_identity == "me"
    assert len(renewed) == 1
    assert said == [None, None]


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        (_refused(403, "leases is forbidden"), "can't make the Lease ns/it: 403 leases is forbidden"),
        (TimeoutError(), "can't make the Lease ns/it: 0 TimeoutError"),
        (_refused(409, "there is one"), None),  # another replica was quicker, and this one waits
    ],
    ids=["no right", "no answer", "another was quicker"],
)
async def test_a_lease_that_can_not_be_made_is_a_problem_until_it_is_there(
    refusal: Exception, problem: str | None
) -> None:
    api = _Leases(_refused(404, "not found"), refusal)
    lock, said, renewed = _lock(api)
    await lock.get("it", "ns")
    assert not await lock.create("it", "ns", _RECORD)
    assert (said[-1], renewed) == (problem, [])
    await lock.get("it", "ns")
    assert said[-1] == problem, "reading that there is none mends nothing"
    api.found = _held_by("another")
    await lock.get("it", "ns")
    assert said[-1] is None


@pytest.mark.parametrize("step", ["read", "take"])
async def test_a_lease_that_can_not_be_read_or_taken_is_a_problem_until_it_can(step: str) -> None:
    forbidden = _refused(403, "leases is forbidden")
    api = _Leases(forbidden if step == "read" else _held_by(None), forbidden)
    lock, said, _ = _lock(api)
    await lock.get("it", "ns")
    if step == "take":
        assert not await lock.update("it", "ns", _RECORD)
        await lock.get("it", "ns")
    assert said[-1] == f"can't {step} the Lease ns/it: 403 leases is forbidden"
    api.found, api.refusal = _held_by(None), None
    await lock.get("it", "ns")
    assert await lock.update("it", "ns", _RECORD)
    assert said[-1] is None


async def test_a_lease_that_was_deleted_under_its_holder_is_not_made_at_once() -> None:
    """The holder may still believe that it holds it: a quarter of a minute, as if it had gone silent."""
    api = _Leases(_held_by("another"))
    lock, _, _ = _lock(api)
    await lock.get("it", "ns")
    api.found = _refused(404, "not found")
    await lock.get("it", "ns")
    assert not await lock.create("it", "ns", _RECORD)
    lock._held_by_other_s -= lease.LEASE_S
    assert await lock.create("it", "ns", _RECORD)
