"""TLS over whole processes: all that asks a server does so by https, and a running fleet changes over."""

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import aiohttp
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tenantry.client import AsyncClient, Client
from tenantry.trust import tls
from tenantry.trust.certificates import Files
from tenantry.trust.fleet_secrets import FleetSecrets
from tenantry_server import publish
from tenantry_server.sidecars.following import HttpFetch
from tenantry_server.toys import SumModel
from tests.support.network.certificates import Authority, MountedSecret, environment
from tests.support.processes import servers
from tests.support.processes import up as ups
from tests.support.processes.servers import Servers
from tests.support.waiting import until

CA = Authority()
USERS = [f"user-{number}" for number in range(8)]  # of both servers' shards, all but surely
SIX = [pytest.approx(6.0)]
FLEET_SECRET = "a secret of this test"  # noqa: S105 - of a test
ROWS = json.dumps({"instances": [[3.0]]}).encode()


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MountedSecret:
    """A mounted Secret, whose CA this process trusts as the system's; no other process does."""
    secret = MountedSecret(tmp_path / "tls")
    secret.put(CA.issue(), CA)
    monkeypatch.setenv("SSL_CERT_FILE", str(secret.folder / "ca.crt"))
    return secret


def test_every_client_of_a_fleet_asks_by_https(secret: MountedSecret, tmp_path: Path) -> None:
    """`tenantry up`, whose operator and servers challenge each other; clients in Python; the commands."""
    manifests, ca = tmp_path / "tenants", str(secret.folder / "ca.crt")
    for user in USERS:
        fitted = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
        publish(fitted, user_id=user, to=tmp_path / "models", manifests=manifests)
    env = environment(secret.folder, TENANTRY_FLEET_SECRET=FLEET_SECRET, SSL_CERT_FILE="")
    with ups.running(manifests, tmp_path / "state", env=env) as fleet:
        assert fleet.url.startswith("https://127.0.0.1:")
        fleet.until_ready(len(USERS))
        until(lambda: len(fleet.servers()) == 2 and fleet.all_reachable(), "both servers are ready")
        assert all(url.startswith("https://") for url in fleet.servers())
        for url in [fleet.url, *fleet.servers()]:
            for user in USERS:
                assert fleet.predict(user, {"instances": [[3.0]]}, url).body["predictions"] == SIX
        _ask_by_clients(fleet.url, ca)
        _ask_by_commands(fleet, tmp_path, {"TENANTRY_TLS_CA": ca, "SSL_CERT_FILE": ""})


def _ask_by_clients(url: str, ca: str) -> None:
    with Client(url, ca=ca, timeout_s=60) as client:
        assert [list(client.predict(user, [[3.0]]).values) for user in USERS] == [SIX] * len(USERS)

    async def ask() -> list[float]:
        async with AsyncClient(url, ca=ca, timeout_s=60) as asked:
            return [float((await asked.predict(user, [[3.0]])).values[0]) for user in USERS]

    assert asyncio.run(ask()) == SIX * len(USERS)


def _ask_by_commands(fleet: ups.Up, folder: Path, env: dict[str, str]) -> None:
    registry = ["--registry", fleet.registry_url]
    predict = ["predict", USERS[0], "--data", ROWS.decode(), "--url", fleet.url]
    done = ups.tenantry(*predict, env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"] == SIX
    done = ups.tenantry(*predict, env=env | {"TENANTRY_TLS_CA": ""})
    assert "certificate verify failed" in done.stderr.lower(), done.stderr
    done = ups.tenantry("get", "server", "server-0", *registry, env=env)
    assert done.returncode == 0, done.stderr
    pd.DataFrame({"user_id": USERS, "0": 3.0}).to_csv(folder / "table.csv", index=False)
    table = [str(folder / "table.csv"), "--out", str(folder / "scored.csv")]
    done = ups.tenantry("score", *table, *registry, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(pd.read_csv(folder / "scored.csv")["prediction"]) == SIX * len(USERS)


@pytest.fixture
def changing(tmp_path: Path, secret: MountedSecret) -> Iterator[Servers]:
    """Two servers which believe only who knows their secret; the second has certificates already."""
    env = {"TENANTRY_FLEET_SECRET": FLEET_SECRET, "TENANTRY_WORKERS": "0"}
    with servers.running(tmp_path, 1, **env) as running:
        with running.environment(**environment(secret.folder, TENANTRY_TLS="optional")):
            running.start("server-1")
        for number, user in enumerate(USERS):
            running.add(user, SumModel(number), f"server-{number % 2}")
        yield running


def test_a_running_fleet_changes_over_server_by_server(changing: Servers, secret: MountedSecret) -> None:
    """At each step, each server passes requests on to the other, whatever that one takes."""
    _until_passed_on(changing)
    for server_id, mode in (("server-0", "optional"), ("server-1", "required"), ("server-0", "required")):
        changing.stop(server_id)
        with changing.environment(**environment(secret.folder, TENANTRY_TLS=mode)):
            changing.start(server_id)
        assert changing.url(server_id).startswith("https:" if mode == "required" else "http:")
        _until_passed_on(changing)
    _ask_in_the_clear(changing)
    _renew(changing, secret)
    asyncio.run(_follow(changing.url("server-0"), secret))


def _until_passed_on(running: Servers) -> None:
    """Until every server has every user answered by the server that holds its model."""
    running.until_acknowledged()

    def answered(asked: str, user: str, holder: str) -> bool:
        address = f"{running.url(asked)}/predict/{user}"
        with urllib.request.urlopen(urllib.request.Request(address, ROWS), timeout=60) as answer:
            assert json.loads(answer.read()) == {"predictions": [3.0 + USERS.index(user)]}
            return bool(answer.headers["Tenantry-Server"] == holder)

    for asked in running.running():
        for number, user in enumerate(USERS):
            holder = f"server-{number % 2}"
            until(partial(answered, asked, user, holder), f"{asked} passes {user} on")


def _ask_in_the_clear(running: Servers) -> None:
    address = running.url("server-0").replace("https:", "http:")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/healthz", timeout=60)
    with refused.value as answer:
        assert json.loads(answer.read())["error"]["reason"] == "TlsRequired"


def _renew(running: Servers, secret: MountedSecret) -> None:
    """Servers take a renewed certificate of a renewed CA, without a restart, and still reach each other."""
    renewed = CA.issue()
    secret.put(renewed, CA)
    for server_id in running.running():
        host, port = running.url(server_id).removeprefix("https://").split(":")
        assert ssl.get_server_certificate((host, int(port))).split() == renewed.cert.decode().split()
    _until_passed_on(running)


async def _follow(url: str, secret: MountedSecret) -> None:
    """A follower proves who it is by the fleet's secret and a certificate."""
    folder = secret.folder
    shown = tls.Tls(Files(folder / "tls.crt", folder / "tls.key", folder / "ca.crt"))
    async with aiohttp.ClientSession() as session:
        fetch = HttpFetch(session, "follower", FleetSecrets(FLEET_SECRET), shown)
        assert b"cursor" in await fetch(url, "")
        async with aiohttp.ClientSession() as another:
            without = HttpFetch(
                another, "other", FleetSecrets(FLEET_SECRET), tls.trusting(folder / "ca.crt")
            )
            with pytest.raises(ConnectionError, match="401"):
                await without(url, "")
