"""Thousands of tenants that are Ready already: rows, manifests and artifacts, as an operator leaves them.

An operator that starts on them finds nothing to do. Each tenant's answers are those of `lines`.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tenantry import ModelId, TenantModel
from tenantry.manifest.spec import API_VERSION, KIND
from tenantry.manifest.status import State, Status, since
from tenantry.registry import Assignment, Claim, OperatorRegistry, Writes, migrate
from tenantry_operator.folder import source
from tests.support.databases.patient import open_patient
from tests.support.tenants import lines

_COMMIT = 500  # rows: a busy machine sends more of them too slowly for one transaction
_PER_FILE = 500  # manifests
_AT_ONCE = 16  # uploads


@dataclass(frozen=True)
class Census:
    """Tenants 0 to count - 1, whose artifacts are objects of one bucket, or files of one folder.

    Args:
        base: ``s3://bucket/prefix`` or ``file:///folder``.
        manifests: the folder that the operator follows.
        alone: the first so many have manifests of their own, to be changed by themselves.
        size_bytes: of tenant n in memory, as a server would have measured it.
    """

    base: str
    manifests: Path
    count: int
    alone: int = 0
    size_bytes: Callable[[int], int] = lambda _: 500

    def uri(self, n: int, version: int = 1) -> str:
        """Of a version's artifact; a name never stands for two versions."""
        return f"{self.base}/{n // 1000:03}/{lines.user_id(n)}-{version}.joblib"

    def declared(self, n: int, version: int = 1) -> TenantModel:
        """What a person applies."""
        data = lines.artifact(n, version)
        source = {"uri": self.uri(n, version), "sha256": lines.sha256(data)}
        document = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": lines.user_id(n)},
            "spec": {"userId": lines.user_id(n), "model": source},
        }
        return TenantModel.parse(document)

    def register(self, registry_url: str) -> list[str]:
        """Write manifests and rows of version 1; returns the model id of each tenant."""
        self.manifests.mkdir(parents=True, exist_ok=True)
        engine = open_patient(registry_url)
        migrate(engine)
        registry = OperatorRegistry(engine, "census")
        registry.lead(f"folder {self.manifests.absolute()}")
        model_ids: list[str] = []
        for start in range(0, self.count, _COMMIT):
            rows = [self._row(n) for n in range(start, min(start + _COMMIT, self.count))]
            registry.commit(Writes(claims=[c for c, _ in rows], assignments=[a for _, a in rows]))
            model_ids += [str(a.model_id) for _, a in rows]
        engine.dispose()
        self._write_manifests()
        return model_ids

    def _row(self, n: int) -> tuple[Claim, Assignment]:
        declared = self.declared(n)
        user_id, model_id = declared.spec.user_id, str(declared.spec.model.pinned())
        uid = source._uid("default", declared.name)
        version = ModelId.parse(model_id).short
        status = Status(
            State.READY,
            "Ready",
            f"version {version} answers on every server",
            1,
            model_id,
            self.size_bytes(n),
        )
        now_s = time.time()
        claim = Claim(
            uid=uid,
            namespace="default",
            name=declared.name,
            user_id=user_id,
            created_at=now_s,
            generation=1,
            spec=declared.to_manifest()["spec"],
            status=status,
            since=since(None, {}, status, now_s),
            origin=self._file_of(n),
        )
        return claim, Assignment(user_id, uid, 1, model_id, size_bytes=self.size_bytes(n))

    def _file_of(self, n: int) -> str:
        return f"alone-{n:06}.json" if n < self.alone else f"crowd-{n // _PER_FILE:04}.yaml"

    def _write_manifests(self) -> None:
        files: dict[str, list[str]] = {}
        for n in range(self.count):
            document = json.dumps(self.declared(n).to_manifest())
            files.setdefault(self._file_of(n), []).append(document)
        for name, documents in files.items():
            (self.manifests / name).write_text("\n---\n".join(documents))

    def declare(self, n: int, version: int) -> None:
        """Change a manifest in one step; the artifact has to be there before."""
        assert n < self.alone, f"tenant {n} shares its manifest's file"
        path = self.manifests / self._file_of(n)
        saved = path.with_suffix(".saved")
        saved.write_text(json.dumps(self.declared(n, version).to_manifest()))
        saved.replace(path)

    # Artifacts

    def write(self, tenants: Sequence[int] | None = None, *, version: int = 1) -> None:
        """Artifacts of a version, as files below `base`."""
        for n in range(self.count) if tenants is None else tenants:
            path = Path(self.uri(n, version).removeprefix("file://"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(lines.artifact(n, version))

    def upload(self, filer_url: str, tenants: Sequence[int] | None = None, *, version: int = 1) -> None:
        """Artifacts of a version, as objects.

        Args:
            filer_url: of the SeaweedFS below the S3 server, five times as quick as S3's own PUT.
        """
        asyncio.run(self._upload(filer_url, range(self.count) if tenants is None else tenants, version))

    async def _upload(self, filer_url: str, tenants: Sequence[int], version: int) -> None:
        address = urlsplit(filer_url)
        left = iter(tenants)

        async def work() -> None:
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            for n in left:
                data = lines.artifact(n, version)
                path = "/buckets/" + self.uri(n, version).removeprefix("s3://")
                first = f"PUT {path}?saveInside=true HTTP/1.1"
                head = f"{first}\r\nHost: filer\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(head.encode() + data)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert b" 201 " in answer[:20], answer
                length = answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
            writer.close()
            await writer.wait_closed()

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
