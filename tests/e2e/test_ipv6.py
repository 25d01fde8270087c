"""`tenantry up --host ::1`, on machines that have that address."""

from pathlib import Path

import pytest
from sklearn.linear_model import LinearRegression

from tenantry_server import publish
from tests.support.network.ipv6 import needs_ipv6
from tests.support.processes import up as ups
from tests.support.waiting import until


@needs_ipv6
def test_a_fleet_on_ipv6_answers_at_every_address_and_passes_requests_on(tmp_path: Path) -> None:
    """The clients' address, each server's own, and from one server to another."""
    manifests = tmp_path / "tenants"
    users = [f"user-{number}" for number in range(8)]  # of both servers' shards, all but surely
    for user in users:
        fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
        publish(fitted, user_id=user, to=tmp_path / "models", manifests=manifests)
    with ups.running(manifests, tmp_path / "state", "--host", "::1") as fleet:
        assert fleet.url.startswith("http://[::1]:")
        fleet.until_ready(len(users))
        until(lambda: len(fleet.servers()) == 2 and fleet.all_reachable(), "both servers are ready")
        servers = fleet.servers()
        assert all(url.startswith("http://[::1]:") for url in servers)
        for url in [fleet.url, *servers]:
            for user in users:
                reply = fleet.predict(user, {"instances": [[3.0]]}, url)
                assert reply.status == 200, reply.body
                assert reply.body["predictions"] == pytest.approx([6.0])
        listed = fleet.tenantry("get", "servers", "--registry", fleet.registry_url)
        assert all(url in listed.stdout for url in servers), listed.stdout
        taken = fleet.tenantry(
            "up",
            str(manifests),
            "--host",
            "::1",
            "--port",
            fleet.url.rpartition(":")[2],
            "--state",
            f"{tmp_path}/2",
        )
        assert (
            f"can't listen on {fleet.url.removeprefix('http://')} (Address already in use)" in taken.stderr
        )
