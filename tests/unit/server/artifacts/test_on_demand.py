"""What reads S3 is imported where something lies in S3, or the surroundings speak of it."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenantry import ModelId
from tenantry.errors import ArtifactUnavailable
from tenantry_server.artifacts.on_demand import StoreOnDemand
from tenantry_server.artifacts.repositories import ArtifactRepository

_START = """
import sys, tenantry_server.process, tenantry_operator.folder_process
from tenantry_operator.runtime import resolver
from tenantry_operator.settings import OperatorSettings
from tenantry_server.settings import ServerSettings
from tenantry_server.supply import models_of
url = "sqlite://"
resolver(OperatorSettings(registry_url=url))
models_of(ServerSettings(registry_url=url, server_id="a"), None, None, lambda *_: None)
print("boto3" in sys.modules)
"""


@pytest.mark.parametrize(
    ("environment", "imported"),
    [({}, "False"), ({"AWS_CA_BUNDLE": "/ca.crt"}, "False"), ({"AWS_DEFAULT_REGION": "us-east-1"}, "True")],
)
def test_boto3_is_imported_where_the_environment_speaks_of_it(
    environment: dict[str, str], imported: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _START], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == imported


class Store(ArtifactRepository):
    def read(self, model_id: ModelId) -> bytes:
        return model_id.uri.encode()


def test_many_threads_make_one_store() -> None:
    made = []
    started = threading.Barrier(8)

    def make() -> Store:
        made.append(1)
        return Store()

    def read(number: int) -> bytes:
        started.wait()
        return store.read(ModelId(f"s3://b/{number}"))

    store = StoreOnDemand(make)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(read, range(8))) == [f"s3://b/{number}".encode() for number in range(8)]
    assert made == [1]


def test_what_failed_is_tried_again() -> None:
    tried = []

    def make() -> Store:
        tried.append(1)
        if len(tried) == 1:
            raise ArtifactUnavailable("s3://b/k", "no region")
        return Store()

    store = StoreOnDemand(make)
    with pytest.raises(ArtifactUnavailable):
        store.read(ModelId("s3://b/k"))
    assert store.read(ModelId("s3://b/k")) == b"s3://b/k"
