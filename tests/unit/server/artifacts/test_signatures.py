"""A repository and signatures: nothing is loaded that has to be signed and is not verified."""

from pathlib import Path

import pytest

from tenantry import Model, ModelId
from tenantry.errors import (
    ArtifactUnavailable,
    SignatureInvalid,
    SignatureMissing,
    SignatureRefused,
    SignatureUnverifiable,
)
from tenantry_server.artifacts.disk_cache import DiskCache, DiskCachedRepository
from tenantry_server.artifacts.repositories import ArtifactRepository, FileSystemModelRepository
from tenantry_server.toys import SumModel


class Guarded:
    """A repository of files, whose loads and checks are noted."""

    def __init__(self, folder: Path, *, signed: bool = True) -> None:
        self.path = folder / "a.joblib"
        self.path.write_bytes(b"artifact")
        if signed:
            (folder / "a.joblib.sig").write_bytes(b"signature")
        self.events: list[str] = []
        self.repository = FileSystemModelRepository()
        self.repository.loader = self._load
        self.repository.checker = self._check

    def exact(self, signatures: str | None = "required") -> str:
        return str(ModelId(self.path.as_uri(), signatures=signatures))

    def _load(self, data: bytes, _exact: ModelId, _card: bytes | None) -> Model:
        self.events.append(f"load {data.decode()}")
        return SumModel()

    def _check(self, data: bytes, exact: ModelId, signature: bytes) -> None:
        self.events.append(f"check {data.decode()} {signature.decode()}")
        if signature != b"signature":
            raise SignatureInvalid(exact.uri, "forged")


def test_the_signature_is_verified_first(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    guarded.repository.get_model(guarded.exact())
    assert guarded.events == ["check artifact signature", "load artifact"]


def test_nothing_is_loaded_without_an_accepted_one(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, signed=False)
    with pytest.raises(
        SignatureMissing, match=r"file://.*a.joblib.sig does not exist; .* tenantry sign file:"
    ):
        guarded.repository.get_model(guarded.exact())
    (tmp_path / "a.joblib.sig").write_bytes(b"another")
    with pytest.raises(SignatureInvalid):
        guarded.repository.get_model(guarded.exact())
    assert guarded.events == ["check artifact another"]


def test_a_repository_that_can_not_verify_refuses(tmp_path: Path) -> None:
    """Ten lines of a small server do not serve unverified what an operator demands to be signed."""
    guarded = Guarded(tmp_path)
    guarded.repository.checker = None
    with pytest.raises(SignatureUnverifiable):
        guarded.repository.get_model(guarded.exact())
    assert guarded.events == []


def test_it_is_asked_for_where_the_id_or_the_server_says_so(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, signed=False)
    guarded.repository.get_model(guarded.exact(None))
    guarded.repository.signed_only = True
    with pytest.raises(SignatureRefused):
        guarded.repository.get_model(guarded.exact(None))


class Store(ArtifactRepository):
    """An artifact and its signature, while it can be reached."""

    def __init__(self) -> None:
        self.away = False
        self.signature = b"first"

    def read(self, model_id: ModelId) -> bytes:
        if self.away:
            raise ArtifactUnavailable(model_id.uri, "away")
        return self.signature if model_id.uri.endswith(".sig") else b"artifact"


def test_a_model_on_the_disk_is_verified_without_its_store(tmp_path: Path) -> None:
    disk, store, seen = DiskCache(tmp_path, max_bytes=1 << 20), Store(), list[bytes]()
    repository = DiskCachedRepository(store, disk)
    repository.loader = lambda *_: SumModel()
    repository.checker = lambda _data, _exact, signature: seen.append(signature)
    exact = ModelId("s3://models/a.joblib", etag="1", signatures="required")
    other = ModelId("s3://models/b.joblib", etag="1", signatures="required")
    try:
        repository.get_model(str(exact))
        disk.flush()
        store.away = True
        repository.get_model(str(exact))
        with pytest.raises(ArtifactUnavailable):
            repository.get_model(str(other))
        store.away, store.signature = False, b"second"
        repository.get_model(str(exact))
    finally:
        disk.close()
    assert seen == [b"first", b"first", b"second"], "one that was replaced is read from the store"
