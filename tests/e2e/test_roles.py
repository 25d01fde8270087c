"""Real servers under the role that can't change who has which model: nothing that they do is refused."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
import yaml
from sklearn.linear_model import LinearRegression
from sqlalchemy.engine import make_url

from tenantry.registry import migrate, open_engine
from tenantry.registry.granting import grant
from tests.support.databases.postgres import PostgresServer
from tests.support.processes.fleet import Fleet
from tests.support.processes.up import ask
from tests.support.tenants.hostile import EndsOnLoad
from tests.support.waiting import until


@pytest.fixture(scope="module")
def fleet(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    url = make_url(postgres.database())
    engine = open_engine(url.render_as_string(hide_password=False))
    migrate(engine)
    roles = grant(engine, prefix=str(url.database), server_ids=["server-1"])
    engine.dispose()
    urls = [
        url.set(username=role.name, password=role.password).render_as_string(hide_password=False)
        for role in roles
    ]
    folder = tmp_path_factory.mktemp("roles")
    (folder / "tenants").mkdir()
    with Fleet(folder / "fleet", urls[0], [str(folder / "tenants")], servers=0) as fleet:
        fleet.enroll({"TENANTRY_REGISTRY_URL": urls[1]})
        fleet.enroll({"TENANTRY_REGISTRY_URL": urls[2]})
        fleet.start()
        fleet.until_settled()
        yield fleet


def reason(fleet: Fleet, user_id: str) -> str | None:
    """Of the user's TenantModel now."""
    found = [claim.status for claim in fleet.registry.claims(named=user_id)]
    return found[0].reason if found and found[0] is not None else None


def until_reason(fleet: Fleet, user_id: str, wanted: str) -> None:
    until(lambda: reason(fleet, user_id) == wanted, f"{user_id} is {wanted}", every_s=0.2)


def asked(fleet: Fleet, user_id: str) -> list[int]:
    """Of each server, the status of its answer."""
    return [answer(fleet, name, user_id) for name in fleet.members]


def answer(fleet: Fleet, name: str, user_id: str) -> int:
    body = json.dumps({"instances": [[3.0]]}).encode()
    try:
        return ask(urllib.request.Request(f"{fleet.urls[name]}/predict/{user_id}", data=body)).status
    except OSError:  # it has not started yet
        return 0


def declare(folder: Path, user_id: str, content: object) -> Path:
    """Store an artifact, and a manifest for it; `publish` would try it first."""
    path = folder / f"{user_id}.joblib"
    joblib.dump(content, path)
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": user_id},
        "spec": {"userId": user_id, "model": {"uri": f"file://{path}"}},
    }
    (folder / "tenants" / f"{user_id}.yaml").write_text(yaml.safe_dump(document))
    return path


def test_no_statement_of_a_server_is_refused(fleet: Fleet) -> None:
    """One life, from an apply to a drain: a load, strikes, a fault, hot users, and shards that move."""
    folder = fleet.folder.parent
    ann = declare(folder, "ann", LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0]))
    until_reason(fleet, "ann", "Ready")
    assert asked(fleet, "ann") == [200, 200]
    declare(folder, "eve", EndsOnLoad(7))
    until_reason(fleet, "eve", "ModelCrashed")
    aside = ann.rename(ann.with_suffix(".aside"))
    fleet.kill("server-0", "server-1")
    fleet.start()
    until(lambda: asked(fleet, "ann") and reason(fleet, "ann") == "Degraded", "ann is Degraded")
    aside.rename(ann)
    until_reason(fleet, "ann", "Ready")
    fleet.until_settled()
    fleet.terminate("server-1")
    fleet.until_gone("server-1")
    until(lambda: set(fleet.held()) == {"server-0"}, "its shards move")
    assert answer(fleet, "server-0", "ann") == 200
    for name in fleet.children:
        for refusal in ("permission denied", "row-level security"):
            assert refusal not in fleet.log(name), name
