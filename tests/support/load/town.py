"""A fleet, its tenants on S3 behind a door for each server, and a load for it: what faults meet."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.load.figures import Figures
from tests.support.load.steady import Load
from tests.support.network.firewall import Link
from tests.support.processes.fleet import OPERATOR, Fleet
from tests.support.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.support.stores.s3_door import Door, Doors
from tests.support.tenants import lines
from tests.support.tenants.census import Census
from tests.support.waiting import PATIENCE_S, until

PER_S = float(os.environ.get("TENANTRY_LOAD_PER_S", "250"))
_WARM_S = 1.2  # of requests before a fault: connections are open, and what is hot is loaded
_QUICK = {"TENANTRY_REBALANCE_AFTER_S": "1"}  # a debounce of 15 s is nothing that these tests are about


class Town:
    """Tenants 0 to count - 1, Ready in version 1, and the servers that answer for them.

    Attributes:
        fleet: its processes; none runs before `calm`.
        census: its tenants.
        doors: name of a server -> its way to S3.
        versions: tenant -> the newest version that is Ready.
    """

    def __init__(
        self,
        folder: Path,
        registry_url: str,
        store: S3Server,
        doors: Doors,
        *,
        count: int,
        alone: int = 40,
        servers: int = 3,
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._filer_url = store.filer_url
        self._doors = doors
        self.doors: dict[str, Door] = {}
        self.versions: Counter[int] = Counter(dict.fromkeys(range(count), 1))
        self.census = Census(
            f"s3://{store.bucket()}/models", folder / "manifests", count, min(alone, count)
        )
        with ThreadPoolExecutor(1) as beside:
            uploading = beside.submit(self.census.upload, self._filer_url)
            self.census.register(registry_url)
            uploading.result()
        settings = {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
            "TENANTRY_S3_ENDPOINT_URL": store.url,
            **_QUICK,
            **(env or {}),
        }
        self.fleet = Fleet(folder, registry_url, [str(self.census.manifests)], env=settings, servers=0)
        for _ in range(servers):
            self.enroll()

    def enroll(self, env: Mapping[str, str] | None = None) -> str:
        """One more server, to be started; its name."""
        door = self._doors.make()
        member = self.fleet.enroll({"TENANTRY_S3_ENDPOINT_URL": door.url, **(env or {})})
        self.doors[member.name] = door
        return member.name

    def dismiss(self, name: str) -> None:
        """End a server for good."""
        self.fleet.dismiss(name)
        del self.doors[name]

    def door_port(self, name: str) -> int:
        """Where this server reaches S3."""
        return int(urlsplit(self.doors[name].url).port or 0)

    def links_to_peers(self, name: str) -> list[Link]:
        """Between this server and the others, both ways."""
        members = self.fleet.members
        mine, theirs = members[name], [peer for peer in members.values() if peer.name != name]
        return [(mine.gid, [peer.port for peer in theirs]), *((peer.gid, [mine.port]) for peer in theirs)]

    def calm(self) -> None:
        """Every process runs, and the shards lie still."""
        for name in (OPERATOR, *self.fleet.members):
            child = self.fleet.children.get(name)
            if child is not None and child.running:
                self.fleet.wake(name)
        self.fleet.start()
        self.fleet.until_settled()

    @contextmanager
    def load(self, per_s: float = PER_S, tenants: int | None = None) -> Iterator[Load]:
        """Requests for the first so many tenants, or all; once it is warm, they count as "before"."""
        asked = range(tenants or self.census.count)
        with Load(self.fleet.urls, asked, per_s=per_s, versions=self.versions) as load:
            load.until_answered(int(_WARM_S * per_s))
            load.phase("before")
            load.until_answered(int(_WARM_S * per_s))
            yield load

    def update(self, n: int, load: Load, *, timeout_s: float = PATIENCE_S) -> None:
        """Publish the next version of a tenant, wait for Ready, and hold every later answer to it."""
        self.declare(n)
        self.until_ready(n, load, timeout_s=timeout_s)

    def declare(self, n: int) -> None:
        """Publish the next version, artifact and manifest."""
        self.versions[n] += 1
        self.census.upload(self._filer_url, [n], version=self.versions[n])
        self.census.declare(n, self.versions[n])

    def until_ready(self, n: int, load: Load, *, timeout_s: float = PATIENCE_S) -> None:
        """Until Ready is said of what was declared last."""
        wanted, user_id = self.versions[n], lines.user_id(n)
        until(
            lambda: self.fleet.ready_generation(user_id) == wanted, f"{user_id} Ready", timeout_s=timeout_s
        )
        load.ready(n, wanted)

    def close(self) -> None:
        """End the processes."""
        self.fleet.close()


def report(fault: str, figures: Figures) -> None:
    """One line for people; pytest shows it with -rA."""
    print(f"{fault}: {figures.whole}\n    {figures}")
