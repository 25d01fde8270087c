"""A folder of manifests on a clock that a test moves, and what the registry would remember of it."""

import os
from pathlib import Path

from tenantry.manifest.status import Status
from tenantry.registry import Claim
from tenantry_operator.declared import Declaration, Listing
from tenantry_operator.folder.source import FolderSource
from tenantry_operator.folder.tree import SETTLE_S, SHRUNK_S

LONG_AGO_S = 1_700_000_000.0


def manifest(name: str, *, user: str | None = None, uri: str = "file:///models/a.joblib") -> str:
    return f"""\
apiVersion: tenantry.dev/v1alpha1
kind: TenantModel
metadata: {{name: {name}}}
spec: {{userId: {user or name}, model: {{uri: "{uri}"}}}}
"""


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s = LONG_AGO_S
        self.set_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def settle(self) -> None:
        self.now_s += SETTLE_S + 0.01

    def set_by(self, seconds: float) -> None:
        """As an administrator or NTP does; no time passes."""
        self.now_s += seconds
        self.set_s += seconds


class Folder:
    """A folder whose files carry the test's time, and its source."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.steady = lambda: self.clock.now_s - self.clock.set_s
        path.mkdir()
        self.restart()

    def restart(self, claims: list[Claim] | None = None) -> None:
        self.source = FolderSource(self.path, claims or [], clock_s=self.clock, steady_s=self.steady)

    def write(self, name: str, text: str | bytes, *, age_s: float = 60.0) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        os.utime(path, (self.clock.now_s - age_s, self.clock.now_s - age_s))
        self.clock.now_s += 0.001  # the next write bears another time
        return path

    def scan(self) -> Listing:
        return self.source.scan()

    def gone(self) -> Listing:
        """What a listing says once what is missing or shrank has had time to come back."""
        self.scan()
        self.clock.now_s += SHRUNK_S
        self.scan()
        self.clock.settle()
        return self.scan()


def by_name(listing: Listing) -> dict[str, Declaration]:
    return {declared.name: declared for declared in listing.declared.values()}


def only(listing: Listing) -> Declaration:
    (declared,) = listing.declared.values()
    return declared


def claim_of(declared: Declaration, status: Status | None = None) -> Claim:
    """What the registry would remember of it."""
    return Claim(
        uid=declared.uid,
        namespace=declared.namespace,
        name=declared.name,
        user_id=None if declared.model is None else declared.model.spec.user_id,
        created_at=declared.created_at,
        generation=declared.generation,
        spec=None if declared.model is None else declared.model.to_manifest()["spec"],
        status=status,
        origin=declared.origin,
    )
