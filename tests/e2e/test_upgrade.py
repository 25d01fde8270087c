"""A server is replaced by one that can't load its models: the rollout waits, and their status says so."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tenantry.registry import RegistryReader
from tenantry_cli.views import overview
from tenantry_server import publish
from tests.support.processes.fleet import OPERATOR, Fleet
from tests.support.waiting import until

OLD = Path(__file__).parents[1] / "data" / "sklearn-1.6.1"
USERS = [f"user-{n:02}" for n in range(24)]  # about half of them on each server
NEW = {"TENANTRY_VERSION_SKEW": "refuse", "TENANTRY_PREWARM_S": "600"}  # instead of another library


def ask(url: str, user_id: str) -> int:
    body = json.dumps({"instances": [[1.0, 2.0]]}).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{url}/predict/{user_id}", data=body)
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def reasons(fleet: Fleet) -> dict[str, str]:
    with RegistryReader.of_existing(fleet.registry_url) as registry:
        return {tenant.claim.name: tenant.reason for tenant in overview.tenants(registry)}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    manifests = tmp_path / "tenants"
    manifests.mkdir()
    for user_id in USERS:
        publish(
            OLD / "ridge.joblib", user_id=user_id, to=tmp_path / "models", manifests=manifests, check=False
        )
    url = f"sqlite:///{tmp_path}/registry.db"
    env = {"TENANTRY_HOT_EVERY_S": "0.5", "TENANTRY_REBALANCE_AFTER_S": "0.5"}
    return Fleet(tmp_path / "fleet", url, [str(manifests)], env=env, servers=2)


def test_a_server_that_cannot_load_what_the_others_have_is_not_ready(fleet: Fleet) -> None:
    with fleet:
        fleet.start(OPERATOR, *fleet.members)
        fleet.until_settled()
        until(lambda: set(reasons(fleet).values()) == {"Ready"}, "all are Ready")
        old, new = fleet.members.values()
        for user_id in USERS:
            assert ask(old.url, user_id) == 200
            assert ask(new.url, user_id) == 200
        fleet.terminate(new.name)  # hands over, and the other one loads what was warm
        fleet.until_gone(new.name)
        for user_id in USERS:
            assert ask(old.url, user_id) == 200
        new.env = NEW
        fleet.start(new.name)
        until(
            lambda: "not ready: models that other servers have in memory" in fleet.log(new.name),
            "it says so",
        )
        assert not fleet.ready(new.name)
        until(lambda: fleet.ready(old.name), "the old one goes on")
        until(lambda: "Degraded" in reasons(fleet).values(), "the status says so")
        with RegistryReader.of_existing(fleet.registry_url) as registry:
            words = [t.message for t in overview.tenants(registry) if t.reason == "Degraded"]
        assert f"{new.name} can't load version" in words[0]
        assert "trained with scikit-learn 1.6.1, served by" in words[0]
        for user_id in USERS:
            assert ask(old.url, user_id) == 200, "nobody notices"
        fleet.terminate(new.name)
        fleet.until_gone(new.name)
        new.env = {}
        fleet.start(new.name)  # the rollout was taken back
        until(lambda: set(reasons(fleet).values()) == {"Ready"}, "all are Ready again")
        fleet.until_settled()
