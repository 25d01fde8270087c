"""Folders, S3 and S3 through the disk give the same models, and each failure its own error."""

import hashlib
import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tenantry import Model, ModelId, errors
from tenantry.manifest.spec import ModelSource
from tenantry.model_id import CARD_SUFFIX, SIGNATURE_SUFFIX
from tenantry.stores.file_roots import ANYWHERE
from tenantry_operator.artifacts.resolver import Resolver
from tenantry_operator.artifacts.s3 import S3Resolver
from tenantry_server import FileSystemModelRepository, ModelRepository, S3ModelRepository
from tenantry_server.artifacts import repositories
from tenantry_server.artifacts.by_scheme import ModelRepositoryByScheme
from tenantry_server.artifacts.disk_cache import DiskCache, DiskCachedRepository
from tenantry_server.artifacts.s3 import make_client
from tests.support.network import valve
from tests.support.stores.s3 import S3Server


def artifact(slope: float) -> bytes:
    """A model that multiplies by `slope`."""
    fitted = LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [0.0, slope])
    buffer = io.BytesIO()
    joblib.dump(fitted, buffer)
    return buffer.getvalue()


def answer(model: Model, x: float) -> float:
    """The prediction for one row."""
    return float(np.round(model.predict(pd.DataFrame({"x": [x]}))[0], 9))


class Store:
    """A place for artifacts: how to write one, and who reads it."""

    def __init__(self, write: Callable[[str, bytes], str], repository: ModelRepository) -> None:
        self.write = write
        self.repository = repository
        self.resolve = Resolver(S3Resolver(None, connections=2).resolve, ANYWHERE)

    def pin(self, uri: str, **over: Any) -> str:
        """The id of what stands there now, as the operator would write it."""
        return str(self.resolve(ModelSource(uri=uri, **over)))


@pytest.fixture(params=["folder", "s3", "s3 through the disk"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":

        def to_file(name: str, data: bytes) -> str:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return path.as_uri()

        yield Store(to_file, FileSystemModelRepository(max_bytes=1 << 20))
        return
    bucket = request.getfixturevalue("s3_bucket")
    client = make_client()

    def to_s3(name: str, data: bytes) -> str:
        client.put_object(Bucket=bucket, Key=name, Body=data)
        return f"s3://{bucket}/{name}"

    repository = S3ModelRepository(client, max_bytes=1 << 20)
    if request.param == "s3":
        yield Store(to_s3, repository)
        return
    disk = DiskCache(tmp_path / "disk", max_bytes=1 << 24)
    yield Store(to_s3, DiskCachedRepository(repository, disk))
    disk.close()


def test_a_model_comes_back(store: Store) -> None:
    uri = store.write("ann/é ü+1.joblib", artifact(3.0))
    assert answer(store.repository.get_model(store.pin(uri)), 2.0) == 6.0


def test_a_model_that_comes_again_is_the_same(store: Store) -> None:
    pinned = store.pin(store.write("ann.joblib", artifact(3.0)))
    assert [answer(store.repository.get_model(pinned), 2.0) for _ in range(3)] == [6.0] * 3


def test_what_is_on_the_disk_loads_while_s3_is_gone(s3: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    """Also in a process that was started since, and with another method of the same bytes."""
    client = make_client()
    client.put_object(Bucket=s3_bucket, Key="a.joblib", Body=artifact(2.0))
    pinned = str(S3Resolver(None, connections=1).resolve(ModelSource(uri=f"s3://{s3_bucket}/a.joblib")))
    disk = DiskCache(tmp_path, max_bytes=1 << 24)
    DiskCachedRepository(S3ModelRepository(client), disk).get_model(pinned)
    disk.flush()
    disk.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = S3ModelRepository(make_client(f"http://127.0.0.1:{port}"))
    later = DiskCache(tmp_path, max_bytes=1 << 24)
    repository = DiskCachedRepository(gone, later)
    assert answer(repository.get_model(pinned), 3.0) == 6.0
    assert answer(repository.get_model(pinned + "&compile=off"), 3.0) == 6.0
    assert later.counts.hits == 2
    later.close()


def test_an_object_that_was_overwritten_is_never_another_model(store: Store) -> None:
    uri = store.write("ann.joblib", artifact(3.0))
    pinned = store.pin(uri)
    store.write("ann.joblib", artifact(4.0))
    with pytest.raises((errors.ArtifactChanged, errors.ArtifactDigestMismatch)) as raised:
        store.repository.get_model(pinned)
    assert not raised.value.retryable
    assert answer(store.repository.get_model(store.pin(uri)), 1.0) == 4.0


def test_a_right_digest_is_accepted_and_a_wrong_one_refused(store: Store) -> None:
    data = artifact(3.0)
    uri = store.write("ann.joblib", data)
    right, wrong = hashlib.sha256(data).hexdigest(), "0" * 64
    assert answer(store.repository.get_model(store.pin(uri, sha256=right)), 1.0) == 3.0
    with pytest.raises(errors.ArtifactDigestMismatch, match=f"{right}, expected {wrong}"):
        store.repository.get_model(store.pin(uri, sha256=wrong))


def test_bytes_with_a_wrong_digest_are_not_deserialised(store: Store, tmp_path: Path) -> None:
    """A pickle runs code when it is read."""
    trap = tmp_path / "sprung"
    uri = store.write("trap.pkl", b"cposix\nsystem\n(S'touch " + str(trap).encode() + b"'\ntR.")
    with pytest.raises(errors.ArtifactDigestMismatch):
        store.repository.get_model(str(ModelId(uri, sha256="0" * 64)))
    assert not trap.exists()


def test_nothing_there(store: Store) -> None:
    uri = store.write("ann.joblib", b"x").replace("ann.joblib", "bob.joblib")
    with pytest.raises(errors.ArtifactNotFound, match=r"bob\.joblib.*publish it there"):
        store.repository.get_model(uri)
    with pytest.raises(errors.ArtifactNotFound, match=r"bob\.joblib.*publish it there"):
        store.pin(uri)


def test_too_large(store: Store) -> None:
    uri = store.write("ann.joblib", b"x" * ((1 << 20) + 1))
    with pytest.raises(errors.ArtifactTooLarge, match=r"1048577 bytes, the limit is 1048576"):
        store.repository.get_model(uri)


def test_what_lies_beside_a_model_is_not_read_where_it_is_too_large(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card or a signature of a gigabyte would be in the server's own memory."""
    read: list[int] = []
    check = repositories.check_digest

    def checked(data: bytes, exact: ModelId) -> bytes:
        read.append(len(data))
        return check(data, exact)

    monkeypatch.setattr(repositories, "MAX_CARD_BYTES", 999)
    monkeypatch.setattr(repositories, "_MOST_SIGNATURE_BYTES", 999)
    monkeypatch.setattr(repositories, "check_digest", checked)
    uri = store.write("ann.joblib", artifact(1.0))
    for suffix in (CARD_SUFFIX, SIGNATURE_SUFFIX):
        store.write(f"ann.joblib{suffix}", b"x" * 1000)
    card = hashlib.sha256(b"x" * 1000).hexdigest()
    with pytest.raises(errors.CardUnusable, match=r"1000 bytes, the limit is 999"):
        store.repository.get_model(str(ModelId(uri, card=card)))
    with pytest.raises(errors.SignatureInvalid, match=r"1000 bytes, the limit is 999"):
        store.repository.get_model(str(ModelId(uri, signatures="required")))
    assert 1000 not in read


@pytest.mark.parametrize(
    ("name", "data"), [("a.joblib", b""), ("a.joblib", b"no model"), ("a.pkl", b"\x80\x05N.")]
)
def test_bytes_that_are_no_model(store: Store, name: str, data: bytes) -> None:
    uri = store.write(name, data)
    with pytest.raises(errors.ArtifactInvalid, match="is not a usable model"):
        store.repository.get_model(uri)


def test_a_suffix_that_nobody_reads(store: Store) -> None:
    uri = store.write("ann.foo", artifact(1.0))
    with pytest.raises(errors.UnknownFormat, match=r"suffix '\.foo'; this server knows sklearn"):
        store.repository.get_model(uri)
    assert answer(store.repository.get_model(store.pin(uri, format="sklearn")), 5.0) == 5.0


def test_a_scheme_that_nobody_reads(store: Store) -> None:
    repository = ModelRepositoryByScheme({"file": store.repository})
    with pytest.raises(errors.ArtifactInvalid, match=r"this server reads file://"):
        repository.get_model("gs://bucket/key")


def test_a_folder_does_not_lead_out_of_its_root(tmp_path: Path) -> None:
    (tmp_path / "secret.joblib").write_bytes(artifact(1.0))
    (tmp_path / "models").mkdir()
    with pytest.raises(errors.ArtifactInvalid, match="leads out of"):
        FileSystemModelRepository(tmp_path / "models").get_model("../secret.joblib")


def test_a_version_of_a_bucket_is_read_exactly(s3: S3Server, s3_bucket: str) -> None:
    bucket, client = s3.bucket(versioned=True), make_client()
    versions = [
        client.put_object(Bucket=bucket, Key="a.joblib", Body=artifact(slope))["VersionId"]
        for slope in (1.0, 2.0)
    ]
    repository = S3ModelRepository(client)
    resolve = S3Resolver(None, connections=1).resolve
    for version, slope in zip(versions, (1.0, 2.0), strict=True):
        source = ModelSource(uri=f"s3://{bucket}/a.joblib", version_id=version)
        assert answer(repository.get_model(str(resolve(source))), 1.0) == slope
    newest = resolve(ModelSource(uri=f"s3://{bucket}/a.joblib"))
    assert newest.version_id == versions[1]
    # A pinned version goes on answering after the object was overwritten.
    client.put_object(Bucket=bucket, Key="a.joblib", Body=artifact(3.0))
    assert answer(repository.get_model(str(newest)), 1.0) == 2.0
    with pytest.raises(errors.ArtifactNotFound):
        repository.get_model(str(ModelId(f"s3://{bucket}/a.joblib", version_id="0" * 32)))


def test_s3_that_refuses_us(s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make_client().put_object(Bucket=s3_bucket, Key="a.joblib", Body=b"x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    uri = f"s3://{s3_bucket}/a.joblib"
    with pytest.raises(errors.ArtifactAccessDenied, match="grant read access"):
        S3ModelRepository(make_client()).get_model(uri)
    with pytest.raises(errors.ArtifactAccessDenied, match="grant read access"):
        S3Resolver(None, connections=1).resolve(ModelSource(uri=uri))


def test_s3_without_credentials(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(errors.ArtifactAccessDenied, match="no AWS credentials were found"):
        S3ModelRepository(make_client()).get_model(f"s3://{s3_bucket}/a.joblib")


def test_s3_that_ends_the_body_early(s3: S3Server, s3_bucket: str) -> None:
    data = artifact(1.0) + b"\0" * 100_000
    make_client().put_object(Bucket=s3_bucket, Key="a.joblib", Body=data)
    with valve.running(s3.url, answer_bytes=50_000) as cutting:
        repository = S3ModelRepository(make_client(cutting.url))
        with pytest.raises(errors.ArtifactTruncated, match=rf"of {len(data)} bytes") as raised:
            repository.get_model(f"s3://{s3_bucket}/a.joblib")
    assert raised.value.retryable


def test_s3_that_is_gone(s3_bucket: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    uri = f"s3://{s3_bucket}/a.joblib"
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(errors.ArtifactUnavailable, match="did not answer") as raised:
        S3ModelRepository(make_client(url)).get_model(uri)
    assert raised.value.retryable
    with pytest.raises(errors.ArtifactUnavailable, match="did not answer"):
        S3Resolver(url, connections=1).resolve(ModelSource(uri=uri))
