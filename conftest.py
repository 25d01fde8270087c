"""Fixtures for the tests, and for the examples in docstrings, which pytest executes too."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from tests.support.databases import postgres as _postgres
from tests.support.databases.postgres import PostgresServer
from tests.support.stores import client_data as _  # noqa: F401 - it acts when imported
from tests.support.stores import s3 as _s3
from tests.support.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Server

# No test asserts a time: on a busy machine any example takes longer than Hypothesis allows by itself.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


gc.disable()  # until all tests are there, and none of them garbage


def pytest_collection_finish() -> None:
    """Collect no tests as garbage: the interpreter went through all of them again and again."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A real S3 server."""
    with _s3.running() as server:
        yield server


@pytest.fixture
def s3_bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, with the environment set up for boto3 as on a user's machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    return s3.bucket()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL server."""
    with _postgres.running() as server:
        yield server
