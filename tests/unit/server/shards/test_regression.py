"""A server that can't load what other servers have in memory is not ready for a while."""

import pytest
from structlog.testing import capture_logs

from tenantry_server.shards import warm_loader
from tests.support.tenants.prewarming import Rig, row
from tests.support.waiting import until_soon


def hot(rig: Rig, *users: str) -> None:
    rig.assign(*(row(user) for user in users))
    rig.hold_for(*users)
    rig.registry.remember_hot(dict.fromkeys(users, 1))


async def test_models_that_others_hold_and_this_one_cannot_load_keep_it_unready(rig: Rig) -> None:
    hot(rig, "odd-ann", "odd-bob", "cid")
    rig.warm = ["odd-ann", "odd-bob", "cid"]
    with capture_logs() as logs:
        await rig.first_round()
    assert not rig.prewarmer.done
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["models"], line["user"]) == (2, "odd-ann")
    assert "written by another version" in line["error"]


async def test_it_is_ready_in_the_end(rig: Rig) -> None:
    hot(rig, "odd-ann", "odd-bob")
    rig.warm = ["odd-ann", "odd-bob"]
    rig.prewarmer = rig.make_prewarmer(wait_s=0.3)
    async with rig.running():
        rig.read()
        await until_soon(rig.prewarmer.first_round_over.is_set)
        await until_soon(lambda: rig.prewarmer.done)


@pytest.mark.parametrize(
    ("users", "warm"),
    [
        (("odd-ann", "odd-bob", "cid"), ()),  # nobody can load them: no fault of this server
        (("odd-ann", "odd-bob", "cid"), ("odd-ann",)),  # one tenant holds up nobody's upgrade
        (("bad-ann", "bad-bob", "cid"), ("bad-ann", "bad-bob")),  # their artifacts are gone for all
        (("ann", "bob"), ("ann", "bob")),
    ],
)
async def test_whatever_else_fails_keeps_no_server_from_being_ready(
    rig: Rig, users: tuple[str, ...], warm: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_loader, "_AGAIN_S", 0.001)
    hot(rig, *users)
    rig.warm = list(warm)
    await rig.first_round()
    assert rig.prewarmer.done
