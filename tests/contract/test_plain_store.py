"""An S3-compatible store without aws-chunked trailers and conditional requests is written to and read."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from botocore.stub import Stubber

from tenantry import ModelId
from tenantry.errors import (
    ArtifactAccessDenied,
    ArtifactChanged,
    ArtifactNotFound,
    ArtifactUnavailable,
)
from tenantry.manifest.spec import ModelSource
from tenantry_operator.artifacts.s3 import S3Resolver
from tenantry_server import S3ModelRepository, publish
from tenantry_server.artifacts.s3 import make_client, publish_bytes
from tenantry_server.toys import SumModel
from tests.support.network.ports import free_ports
from tests.support.stores import plain_store
from tests.support.stores.s3 import S3Server

ONE_ROW = pd.DataFrame({"a": [1.0]})


@pytest.fixture(params=[False, True], ids=["strong tags", "weak tags"])
def plain(request: pytest.FixtureRequest, s3: S3Server) -> Iterator[str]:
    with plain_store.running(s3.url, weak=request.param) as url:
        yield url


def test_it_is_published_resolved_and_read(
    plain: str, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 sends checksums as trailers by default, which such a store refuses."""
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("TENANTRY_S3_ENDPOINT_URL", plain)
    uri = publish(SumModel(plus=5), user_id="ann", to=f"s3://{s3_bucket}/models").spec.model.uri
    pinned = S3Resolver(plain, connections=1).resolve(ModelSource(uri=uri))
    assert pinned.etag
    model = S3ModelRepository(make_client(plain)).get_model(str(pinned))
    assert model.predict(ONE_ROW).tolist() == [6.0]


def test_an_object_that_was_overwritten_is_never_another_model(plain: str, s3_bucket: str) -> None:
    uri = f"s3://{s3_bucket}/a.joblib"
    publish_bytes(make_client(plain), uri, b"first")
    pinned = S3Resolver(plain, connections=1).resolve(ModelSource(uri=uri))
    repository = S3ModelRepository(make_client(plain))
    assert repository.read(pinned) == b"first"
    publish_bytes(make_client(plain), uri, b"other")
    with pytest.raises(ArtifactChanged, match="no longer holds the version that was pinned"):
        repository.read(pinned)


def test_a_tag_pinned_through_a_proxy_is_good_without_it(s3: S3Server, s3_bucket: str) -> None:
    """The proxy that compresses has made it weak; operator and servers may go different ways."""
    uri = f"s3://{s3_bucket}/a.joblib"
    publish_bytes(make_client(s3.url), uri, b"first")
    with plain_store.running(s3.url) as weak:
        pinned = S3Resolver(weak, connections=1).resolve(ModelSource(uri=uri))
        strong = S3Resolver(s3.url, connections=1).resolve(ModelSource(uri=uri))
        assert pinned.etag == f"W/{strong.etag}"
        assert S3ModelRepository(make_client(s3.url)).read(pinned) == b"first"
        assert S3ModelRepository(make_client(weak)).read(strong) == b"first"
    assert ModelId.parse(str(pinned)) == pinned


def test_an_error_speaks_to_the_one_who_publishes(s3_bucket: str, tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(ArtifactUnavailable, match="check the endpoint") as raised:
        publish(
            SumModel(),
            user_id="ann",
            to=f"s3://{s3_bucket}/models",
            manifests=tmp_path,
            s3_endpoint_url=nobody,
        )
    assert "retried" not in str(raised.value)
    assert "nothing was declared" in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_missing_is_asked_for() -> None:
    client = make_client("http://127.0.0.1:1")
    with Stubber(client) as stub:  # the real one makes a bucket of any name
        stub.add_client_error("put_object", "NoSuchBucket", http_status_code=404)
        with pytest.raises(ArtifactNotFound, match=r"\(HTTP 404 NoSuchBucket\); create the bucket models"):
            publish_bytes(client, "s3://models/a.joblib", b"")


def test_refused_credentials_are_asked_to_be_let_write(
    s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ArtifactAccessDenied, match="grant s3:PutObject on s3://"):
        publish(SumModel(), user_id="ann", to=f"s3://{s3_bucket}")
