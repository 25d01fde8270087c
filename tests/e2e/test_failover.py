"""PostgreSQL fails over to a standby that lacks the last commits, under load.

TENANTRY_FAILOVER_ROUNDS is how often (`make soak-failover`: 20), and TENANTRY_TEST_SEED replays a run.
"""

import itertools
import json
import os
import random
import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenantry.manifest.status import State
from tenantry.registry import Claim
from tests.support.databases import replicated
from tests.support.databases.replicated import ReplicatedPostgres
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.home import Home, install_crd
from tests.support.processes.fleet import OPERATOR, Fleet
from tests.support.tenants import lines
from tests.support.tenants.manifest_folder import manifest
from tests.support.waiting import until

ROUNDS = int(os.environ.get("TENANTRY_FAILOVER_ROUNDS", "2"))
SEED = int(os.environ.get("TENANTRY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
USERS = 4


class Town:
    """Tenants whose artifacts name their version, and clients that never stop asking for them."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self.fleet = fleet
        self.folder = folder
        self.versions = dict.fromkeys(range(USERS), 0)
        self.promised: dict[int, int] = {}  # the newest version that Ready was said of
        self.broken: list[str] = []
        self.asked = dict.fromkeys(fleet.members, 0)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in fleet.members]

    def declare(self, n: int) -> None:
        self.versions[n] += 1
        artifact = self.folder.parent / f"models/{n}-v{self.versions[n]}.joblib"
        artifact.parent.mkdir(exist_ok=True)
        artifact.write_bytes(lines.artifact(n, self.versions[n]))
        whole = self.folder / f".{n}"
        whole.write_text(manifest(f"line-{n}", user=lines.user_id(n), uri=f"file://{artifact}"))
        whole.rename(self.folder / f"{n}.yaml")

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def claims(self) -> list[tuple[int, int, Claim]]:
        """Each tenant, the version that answers by its status, and the whole of it."""
        found = []
        for claim in self.fleet.registry.claims():
            version = re.search(r"/(\d+)-v(\d+)\.joblib", claim.model_id or "")
            if version:
                found.append((int(version[1]), int(version[2]), claim))
        return found

    def listen(self) -> bool:
        """Note what Ready is said of; return whether it is said of all that is declared."""
        ready = 0
        for n, version, claim in self.claims():
            assert claim.status is not None
            if claim.status.state is State.READY and claim.observed_generation == claim.generation:
                self.promised[n] = max(version, self.promised.get(n, 0))
                ready += version == self.versions[n]
        return ready == USERS

    def until_ready(self) -> None:
        until(self.listen, "Ready is said of everything that is declared")

    def no_old_ready(self) -> bool:
        """Whether Ready is said of nothing but what is declared."""
        return all(
            version == self.versions[n] or claim.status is None or claim.status.state is not State.READY
            for n, version, claim in self.claims()
        )

    def _ask(self, name: str) -> None:
        url = self.fleet.urls[name]
        for n in itertools.cycle(range(USERS)):
            if self._over.is_set():
                return
            promised = self.promised
            wanted = promised.get(n, 0)
            request = urllib.request.Request(
                f"{url}/predict/{lines.user_id(n)}", lines.BODY, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    _, version = lines.read(json.load(answer)["predictions"])
            except OSError:  # refused or unavailable: nothing was answered
                self._over.wait(0.05)
                continue
            # What was promised in commits that are lost since counts no more: the dict is another one.
            if version < wanted and promised is self.promised:
                self.broken.append(f"{name} answered {n} with {version}, Ready was said of {wanted}")
            self.asked[name] += 1
            self._over.wait(0.002)


@pytest.fixture(scope="module")
def database() -> Iterator[ReplicatedPostgres]:
    with replicated.running() as database:
        yield database


@pytest.mark.timeout(300 + 120 * ROUNDS)
def test_no_answer_is_older_than_a_ready_that_was_said_after_a_failover(
    database: ReplicatedPostgres, tmp_path: Path
) -> None:
    print(f"TENANTRY_TEST_SEED={SEED}")
    chance = random.Random(SEED)  # noqa: S311 - chance, not secrets
    folder = tmp_path / "manifests"
    folder.mkdir()
    with Fleet(tmp_path / "fleet", database.url, [str(folder)]) as fleet:
        fleet.start()
        town = Town(fleet, folder)
        for n in range(USERS):
            town.declare(n)
        town.until_ready()
        town.start()
        try:
            for number in range(ROUNDS):
                taken_back_s = _round(database, town, chance)
                print(f"round {number}: an old Ready stood for {taken_back_s:.2f} s after the failover")
                assert not town.broken, town.broken[:5]
        finally:
            town.stop()
        # A server whose lease ended meanwhile reads everything anyway, and compares nothing.
        assert "leading again" in fleet.log(OPERATOR), "no commit was lost"


def _round(database: ReplicatedPostgres, town: Town, chance: random.Random) -> float:
    database.add_standby()
    town.until_ready()
    database.lose_from_here()
    for _ in range(chance.randint(2, 6)):
        town.declare(chance.randrange(USERS))
        if chance.random() < 0.7:
            town.until_ready()
    sleeper = chance.choice([*town.fleet.members])
    town.fleet.pause(sleeper)
    try:
        town.promised = {}
        database.fail_over()
        began_s = time.monotonic()
        until(town.no_old_ready, "every Ready that no longer holds is taken back")
        taken_back_s = time.monotonic() - began_s
        for _ in range(chance.randint(1, 3)):  # takes the revisions of what was lost
            town.declare(chance.randrange(USERS))
            town.until_ready()
    finally:
        town.fleet.wake(sleeper)
    before = dict(town.asked)
    until(lambda: all(town.asked[name] > before[name] + 40 for name in before), "every server answers")
    town.until_ready()
    return taken_back_s


def test_on_a_cluster_statuses_are_taken_back_and_the_operator_goes_on(
    plane: ControlPlane, database: ReplicatedPostgres, tmp_path: Path
) -> None:
    """Its second term watches and writes as the first did; a paused server keeps Ready from being said."""
    install_crd(plane)
    home = Home(plane, tmp_path, database.database("cluster"))
    servers = ("server-0", "server-1")
    try:
        home.start_operator()
        for server in servers:
            home.start_server(server, env={"TENANTRY_LEASE_S": "3"})
        until(lambda: len(home.servers()) == 2, "both servers")
        database.add_standby()
        home.apply(home.publish("ann", 1.0))
        home.until("ann", "Ready")
        until(database.has_everything, "the standby has it")
        database.lose_from_here()
        home.apply(home.publish("ann", 2.0))
        newest = home.until("ann", "Ready")["status"]["modelId"]
        os.kill(home.children["server-1"].pid, signal.SIGSTOP)
        try:
            database.fail_over()
            began_s = time.monotonic()
            until(lambda: not _is_ready(home, "ann"), "Ready is taken back")
            print(f"on a cluster an old Ready stood for {time.monotonic() - began_s:.2f} s")
        finally:
            os.kill(home.children["server-1"].pid, signal.SIGCONT)
        until(lambda: _is_ready(home, "ann"), "Ready again")
        assert home.get("ann")["status"]["modelId"] == newest
        assert [home.predict("ann", 1.0, server) for server in servers] == pytest.approx([2.0, 2.0])
        assert "leading again" in home.log("operator")
        home.apply(home.publish("bob", 3.0))
        home.until("bob", "Ready")
        assert [home.predict("bob", 1.0, server) for server in servers] == pytest.approx([3.0, 3.0])
        home.delete("bob")
        until(lambda: home.predict("bob", 1.0) is None, "the watch goes on too")
    finally:
        home.stop()


def _is_ready(home: Home, name: str) -> bool:
    conditions = home.get(name)["status"]["conditions"]
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
