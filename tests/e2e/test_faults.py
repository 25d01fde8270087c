"""What is killed, paused, cut off, restarted or edited by hand, and what stays true all the same."""

import copy
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tenantry import TenantModel
from tenantry.registry import open_engine
from tests.support.databases import postgres, postgres_outage
from tests.support.kubernetes.binaries.envtest_assets import provide
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import CRDS, TENANT_MODELS, install_crd
from tests.support.kubernetes.site import Site
from tests.support.network import valve
from tests.support.network.clients import loopback_http
from tests.support.waiting import PATIENCE_S, until


@pytest.fixture(scope="module")
def plane() -> Iterator[ControlPlane]:
    """One of its own: these tests restart it and throw its history away."""
    with ControlPlane(provide(), audit=True) as running:
        install_crd(running)
        yield running


@pytest.fixture(scope="module")
def module_site(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("faults")
    with postgres.running() as database, valve.running(plane.url) as between:
        made = Site(plane, database, between, folder)
        yield made
        between.open()
        for child in made.home.children.values():
            if child.running:
                os.kill(child.pid, signal.SIGCONT)
        made.home.stop()
        made.engine.dispose()


@pytest.fixture
def site(module_site: Site) -> Site:
    module_site.calm()
    return module_site


# The operator dies


def _killed_with_a_status_under_way(site: Site, name: str) -> None:
    """Apply a second version of `name`, and kill the operator once it has sent Ready, but no further."""
    site.ready(name, 1.0)
    site.valve.hold_requests()
    site.home.apply(site.home.publish(name, 2.0))
    until(lambda: _committed(site, name), "committed")
    until(lambda: site.valve.kept_back_bytes > 0, "the status is on its way")
    assert site.home.get(name)["status"]["observedGeneration"] == 1


def _committed(site: Site, name: str) -> bool:
    claim = site.claim(name)
    return claim is not None and claim.observed_generation == 2 and _reason(site, name) == "Ready"


def test_a_status_that_a_killed_operator_committed_and_never_wrote_is_written_once(site: Site) -> None:
    _killed_with_a_status_under_way(site, "ann")
    site.kill("operator")
    site.valve.cut()
    site.calm()
    assert site.home.until("ann", "Ready")["status"]["modelId"] == site.rows()["ann"][1]
    assert site.home.settled_writes("ann") == ["Ready", "Ready"], "one for each of two changes"
    assert site.answers("ann") == [pytest.approx(2.0)] * 2


def test_a_status_whose_writer_was_killed_before_it_heard_so_is_not_written_again(site: Site) -> None:
    _killed_with_a_status_under_way(site, "bea")
    site.valve.hold_answers()
    written = site.home.until("bea", "Ready")
    site.kill("operator")
    site.valve.cut()
    site.calm()
    site.ready("bea-later", 1.0)  # the new operator has been through its queue
    assert site.home.get("bea")["metadata"]["resourceVersion"] == written["metadata"]["resourceVersion"]
    assert site.home.settled_writes("bea") == ["Ready", "Ready"]


def test_what_was_deleted_and_created_while_the_operator_was_dead_is_caught_up_with(site: Site) -> None:
    for name in ("cyd", "dov", "eli"):
        site.ready(name, 1.0)
    untouched = site.home.get("eli")["metadata"]["resourceVersion"]
    site.kill("operator")
    site.home.delete("cyd")
    site.home.delete("dov")
    site.home.apply(site.home.publish("dov", 5.0))  # another object of the same name
    site.home.apply(site.home.publish("fay", 7.0))
    site.calm()
    site.home.until("dov", "Ready")
    site.home.until("fay", "Ready")
    until(lambda: site.answers("cyd") == [None, None], "the deleted one answers nowhere")
    assert site.answers("dov") == [pytest.approx(5.0)] * 2
    assert site.answers("fay") == [pytest.approx(7.0)] * 2
    assert site.home.get("eli")["metadata"]["resourceVersion"] == untouched


def test_a_writer_that_sleeps_in_the_middle_of_a_write_does_not_stop_its_successor(site: Site) -> None:
    """A paused leader keeps its row locks; the registry takes them away from a silent transaction."""
    site.kill("operator")
    engine = open_engine(site.home.registry_url)  # as the paused one opened it
    connection = engine.connect()
    connection.execute(text("SELECT * FROM leader FOR UPDATE"))
    try:
        site.calm()
        assert site.ready("gus", 3.0)
    finally:
        connection.invalidate()
        connection.close()
        engine.dispose()


# The API server


# A handshake that the restart cuts off leaves its socket to the garbage collector.
@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")
def test_applies_go_on_while_the_api_server_restarts(site: Site) -> None:
    names = [f"hal-{n}" for n in range(12)]
    declared = [site.home.publish(name, 1.0 + n) for n, name in enumerate(names)]
    pids = {name: child.pid for name, child in site.home.children.items()}
    underway = threading.Event()

    def apply_all() -> None:
        for n, each in enumerate(declared):
            until(lambda each=each: _applied(site, each), "applied")  # type: ignore[misc]
            if n == 3:
                underway.set()

    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(apply_all)
        assert underway.wait(PATIENCE_S)
        site.plane.restart_apiserver()
        applying.result(PATIENCE_S)
    for n, name in enumerate(names):
        site.home.until(name, "Ready")
        assert site.answers(name) == [pytest.approx(1.0 + n)] * 2
    assert {name: child.pid for name, child in site.home.children.items() if child.running} == pids


def _applied(site: Site, declared: TenantModel) -> bool:
    """Once more where the API server did not answer; it may have heard all the same."""
    try:
        site.home.apply(declared)
    except (OSError, AssertionError):
        return False
    return True


def test_a_watch_that_fell_behind_the_history_loses_neither_an_apply_nor_a_delete(site: Site) -> None:
    """While it was cut off, etcd was compacted and the API server restarted: its place is 410 Gone."""
    site.ready("ida", 1.0)
    site.ready("jon", 1.0)
    place = site.ready("kim", 1.0)["metadata"]["resourceVersion"]
    site.valve.cut()
    site.home.apply(site.home.publish("ida", 2.0))
    site.home.delete("jon")
    site.home.delete("kim")
    site.home.apply(site.home.publish("kim", 4.0))
    site.home.apply(site.home.publish("lea", 3.0))
    _compact(site.plane)
    site.plane.restart_apiserver()  # its memory of recent events goes too
    event = until(lambda: _watched_from(site.plane, place), "the API server has read its storage")
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    site.valve.open()
    for name, slope in (("ida", 2.0), ("kim", 4.0), ("lea", 3.0)):
        site.home.until(name, "Ready")
        assert site.answers(name) == [pytest.approx(slope)] * 2
    until(lambda: site.answers("jon") == [None, None], "the deleted one answers nowhere")


def _watched_from(plane: ControlPlane, place: str) -> Any:
    """The first event after this place; None while a server from 1.31 on reads its storage (429)."""
    path = f"{TENANT_MODELS}?watch=1&resourceVersion={place}&timeoutSeconds=5"
    status, event = plane.request("GET", path)
    return None if status == 429 else event


def _compact(plane: ControlPlane) -> None:
    """Make etcd forget everything but the present."""
    url = f"{plane.etcd_endpoint}/v3/kv"
    _, found = loopback_http.exchange("POST", f"{url}/range", {"key": "AA=="}, timeout_s=10)
    compaction = {"revision": found["header"]["revision"], "physical": True}
    status, body = loopback_http.exchange("POST", f"{url}/compaction", compaction, timeout_s=10)
    assert status == 200, body


# The registry


def test_a_restarted_postgresql_costs_no_process_and_no_change(site: Site) -> None:
    site.ready("mia", 1.0)
    pids = {name: child.pid for name, child in site.home.children.items()}
    with postgres_outage.outage(site.database):
        site.home.apply(site.home.publish("mia", 2.0))
        site.home.apply(site.home.publish("ned", 3.0))
    site.home.until("mia", "Ready")
    site.home.until("ned", "Ready")
    assert site.answers("mia") == [pytest.approx(2.0)] * 2
    assert site.answers("ned") == [pytest.approx(3.0)] * 2
    assert {name: child.pid for name, child in site.home.children.items() if child.running} == pids


def test_rows_that_somebody_edited_or_deleted_are_put_back(site: Site) -> None:
    """Edits of SQL by hand are like damage to a table: what is declared stands."""
    for n, name in enumerate(("oda", "pia", "quin", "ray")):
        site.ready(name, 1.0 + n)
    site.kill("operator")
    site.start_operator({"TENANTRY_RESYNC_S": "0.5"})
    site.ready("sam", 9.0)
    before, claims = site.rows(), _claims(site)
    shards = _shards(site)
    site.sql("DELETE FROM assignments WHERE user_id = 'oda'")
    site.sql(
        "UPDATE assignments SET model_id = :other, revision = revision + 1000000 WHERE user_id = 'pia'",
        other=before["quin"][1],
    )
    site.sql("UPDATE assignments SET deleted = true WHERE user_id = 'quin'")
    site.sql("DELETE FROM claims WHERE name = 'ray'")
    site.sql("UPDATE claims SET conditions = '[]', model_id = 'made-up' WHERE name = 'sam'")
    site.sql("UPDATE shard_map SET server_id = 'nobody' WHERE shard < 100")
    site.sql("DELETE FROM shard_map WHERE shard >= 900")
    site.sql(
        "INSERT INTO assignments (user_id, uid, generation, model_id, revision, deleted) "
        "VALUES ('stranger', 'made-up', 1, :other, 1, false)",
        other=before["quin"][1],
    )
    until(lambda: site.rows() == before, "assignments are put back")
    until(lambda: _claims(site) == claims, "claims are put back")
    until(lambda: _shards(site) == shards, "shards are put back")
    for n, name in enumerate(("oda", "pia", "quin", "ray")):
        expected = [pytest.approx(1.0 + n)] * 2
        until(lambda name=name, right=expected: site.answers(name) == right, name)  # type: ignore[misc]
    assert site.answers("stranger") == [None, None]
    site.kill("operator")  # the next one looks once in ten minutes again


def test_claims_that_were_edited_while_the_operator_was_dead_do_not_keep_it_from_starting(
    site: Site,
) -> None:
    for name in ("tom", "uma"):
        site.ready(name, 1.0)
    site.kill("operator")
    site.sql("UPDATE claims SET conditions = '[]' WHERE name = 'tom'")
    site.sql("UPDATE claims SET conditions = '[{}]' WHERE name = 'uma'")
    site.start_operator()
    site.ready("vic", 2.0)
    until(lambda: _reason(site, "tom") == _reason(site, "uma") == "Ready", "their claims are written again")


def _claims(site: Site) -> dict[str, tuple[str, str | None, str]]:
    return {
        c.name: (c.uid, c.model_id, str(c.conditions[:1] and c.conditions[0]["reason"]))
        for c in site.registry.claims()
    }


def _shards(site: Site) -> dict[int, str]:
    with site.engine.connect() as connection:
        found = connection.execute(text("SELECT shard, server_id FROM shard_map")).all()
    return {row.shard: row.server_id for row in found}


# A server sleeps


def test_a_server_that_slept_past_its_lease_never_answers_with_the_older_model(site: Site) -> None:
    """Requests that were sent while it slept included: they sit in its socket until it wakes."""
    site.ready("tom", 1.0)
    assert site.answers("tom") == [pytest.approx(1.0)] * 2
    sleeper = site.home.children["server-1"]
    awake = site.home.servers()["server-1"]
    os.kill(sleeper.pid, signal.SIGSTOP)
    site.ready("tom", 2.0)  # said without the sleeper, whose lease has run out
    assert "server-1" not in site.live()
    with ThreadPoolExecutor(20) as pool:
        body = {"instances": [[1.0]]}
        sent = [
            pool.submit(loopback_http.exchange, "POST", f"{awake}/predict/tom", body, timeout_s=30.0)
            for _ in range(20)
        ]
        until(lambda: _waiting_in(awake) >= len(sent), "they sit in its socket")
        os.kill(sleeper.pid, signal.SIGCONT)
        answers = [each.result() for each in sent]
    assert {status for status, _ in answers} == {200}
    assert [body["predictions"][0] for _, body in answers] == [pytest.approx(2.0)] * len(sent)


def _waiting_in(url: str) -> int:
    """Connections to a server that hold bytes which it has not read, as Linux counts them."""
    port = f"{int(url.rpartition(':')[2]):04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    unread = [
        line[4].partition(":")[2] for line in lines if line[1].endswith(f":{port}") and line[3] == "01"
    ]
    return sum(int(each, 16) > 0 for each in unread)


# Hostile objects


def test_a_status_that_makes_no_sense_is_replaced_and_holds_nobody_up(site: Site) -> None:
    wrong: list[dict[str, Any]] = [
        {"observedGeneration": 2**63 - 1, "modelId": "\u202e#?sha256=\u0000", "sizeBytes": -(2**63)},
        {"observedGeneration": 1, "conditions": [_condition("Bogus"), _condition("?")]},
        {"observedGeneration": 1, "conditions": [_condition("Ready", reason="x" * 100_000)]},
        {"observedGeneration": -1, "conditions": []},
    ]
    names = [f"una-{n}" for n in range(len(wrong))]
    right = {name: site.ready(name, 1.0 + n)["status"] for n, name in enumerate(names)}
    for name, status in zip(names, wrong, strict=True):
        path = f"{TENANT_MODELS}/{name}/status"
        code, body = site.plane.request("PUT", path, {**site.home.get(name), "status": status})
        assert code == 200, str(body)[:500]
    site.ready("una-later", 9.0)
    for n, name in enumerate(names):
        until(lambda name=name: site.home.get(name)["status"] == right[name], name)  # type: ignore[misc]
        assert site.answers(name) == [pytest.approx(1.0 + n)] * 2


def _condition(kind: str, reason: str = "Odd") -> dict[str, str]:
    moment = "0001-01-01T00:00:00Z"
    return {
        "type": kind,
        "status": "Unknown",
        "reason": reason,
        "message": "-",
        "lastTransitionTime": moment,
    }


def test_annotations_and_names_at_their_limits_are_like_any_other(site: Site) -> None:
    user_id = "v" * 253
    name = ".".join(["w" * 62] * 4)[:253]
    declared = site.home.publish(user_id, 3.0)
    document = TenantModel("default", name, declared.spec).to_manifest()
    document["metadata"] |= {
        "annotations": {"example.com/large": "\u2028{}\x07" * 30_000, "kopf.zalando.org/x": "not JSON"},
        "labels": {"k" * 63: "v" * 63},
    }
    code, body = site.plane.request("POST", TENANT_MODELS, document)
    assert code == 201, body
    site.home.until(name, "Ready")
    assert site.answers(user_id) == [pytest.approx(3.0)] * 2


def test_what_the_schema_would_refuse_but_storage_holds_gets_its_condition(site: Site) -> None:
    """Such as what was stored before a rule was made: the CRD is relaxed for a moment."""
    good = site.home.publish("xena", 1.0).to_manifest()["spec"]
    specs: dict[str, Any] = {
        "odd-empty": {},
        "odd-list": [],
        "odd-number": {"userId": 7, "model": good["model"]},
        "odd-nul": {"userId": "a\u0000b", "model": good["model"]},
        "odd-long": {"userId": "y" * 10_000, "model": good["model"]},
        "odd-deep": {"userId": "yan", "model": good["model"], "prewarm": _nested(9_000)},
        "odd-wide": {"userId": "yan", "model": {"uri": ["x"] * 50_000}},
    }
    with _deep_json(), _relaxed(site.plane):
        for name, spec in specs.items():
            _store(site.plane, name, spec)
        for name in specs:
            site.home.until(name, "InvalidManifest")
        os.kill(site.home.children["operator"].pid, signal.SIGSTOP)
        _store(site.plane, "odd-later", {})
    os.kill(site.home.children["operator"].pid, signal.SIGCONT)
    until(lambda: _reason(site, "odd-later") == "InvalidManifest", "the registry tells of it")
    if site.plane.version_info >= (1, 30):  # an older one checks the spec at each write of the status
        site.home.until("odd-later", "InvalidManifest")
    site.ready("xena", 4.0)
    assert site.answers("xena") == [pytest.approx(4.0)] * 2
    for name in (*specs, "odd-later"):
        site.home.delete(name)
    until(lambda: site.claim("odd-later") is None, "it is gone")


def _store(plane: ControlPlane, name: str, spec: Any) -> None:
    document = {"apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel"}
    stored = {**document, "metadata": {"name": name}, "spec": spec}
    status, body = plane.request("POST", TENANT_MODELS, stored)
    assert status == 201, body


def _reason(site: Site, name: str) -> str:
    """What the registry says of a TenantModel; empty: nothing yet."""
    claim = site.claim(name)
    return str(claim.conditions[0].get("reason", "")) if claim and claim.conditions else ""


@contextmanager
def _deep_json() -> Iterator[None]:
    """Let this process write and read what the API server takes."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def _nested(levels: int) -> Any:
    deep: Any = "bottom"
    for _ in range(levels):
        deep = [deep]
    return deep


@contextmanager
def _relaxed(plane: ControlPlane) -> Iterator[None]:
    """A CRD that takes any spec, for the length of the block; the status is as ever."""
    path = f"{CRDS}/tenantmodels.tenantry.dev"
    strict = plane.request("GET", path)[1]["spec"]
    loose = copy.deepcopy(strict)
    schema = loose["versions"][0]["schema"]["openAPIV3Schema"]
    schema["x-kubernetes-preserve-unknown-fields"] = True
    del schema["properties"]["spec"], schema["required"]
    _serve(plane, path, loose, refused=False)
    try:
        yield
    finally:
        _serve(plane, path, strict, refused=True)


def _serve(plane: ControlPlane, path: str, spec: Any, *, refused: bool) -> None:
    """Until the API server judges by this schema."""
    empty = {"apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel", "metadata": {"name": "probe"}}
    status, body = plane.request("PUT", path, {**plane.request("GET", path)[1], "spec": spec})
    assert status == 200, body
    expected = 422 if refused else 201
    until(
        lambda: plane.request("POST", f"{TENANT_MODELS}?dryRun=All", empty)[0] == expected,
        f"an object without a spec gets {expected}",
    )
