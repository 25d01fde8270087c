"""A real S3 server for tests: SeaweedFS, from PyPI."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.network.ports import free_ports
from tests.support.processes.child_process import Child, ChildFailed
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ACCESS_KEY, SECRET_KEY = "reader-writer", "not-a-secret"
_TRIES = 3


@dataclass
class S3Server:
    """A running server.

    Attributes:
        url: its endpoint.
        filer_url: of the file server below it: what is put there is an object too, five times as quickly.
    """

    url: str
    filer_url: str
    _child: Child

    def client(self, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> "S3Client":
        """A client with these credentials, which asks once; the same one each time."""
        return _client(self.url, access_key, secret_key)

    def bucket(self, *, versioned: bool = False) -> str:
        """A new bucket."""
        name = f"bucket-{uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=name)
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name


@cache
def _client(url: str, access_key: str, secret_key: str) -> "S3Client":
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(connect_timeout=10, read_timeout=60, retries={"total_max_attempts": 1}),
    )


@contextmanager
def running() -> Iterator[S3Server]:
    """An S3 server that lives as long as the block."""
    folder = Path(tempfile.mkdtemp(prefix="tenantry-s3-"))
    try:
        server = _started(folder)
        yield server
        server._child.stop(grace_s=0.5)  # its data is thrown away
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path) -> S3Server:
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [_identity("Admin")]}))
    for attempt in range(1, _TRIES + 1):
        try:
            return _start(folder / f"data-{attempt}", config)
        except ChildFailed:
            if attempt == _TRIES:
                raise
    raise AssertionError("unreachable")


def _identity(*actions: str) -> dict[str, object]:
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    return {"name": "tests", "credentials": credentials, "actions": list(actions)}


def _start(data: Path, config: Path) -> S3Server:
    data.mkdir()
    names = ("master", "volume", "filer", "s3")
    ports = free_ports(2 * len(names))
    argv = [str(Path(sys.executable).parent / "weed"), "server", "-dir", str(data)]
    argv += ["-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-s3", "-s3.config", str(config)]
    argv += [
        "-volume.max",
        "500",
        "-master.volumeSizeLimitMB",
        "64",
        "-master.telemetry=false",
        "-s3.iam=false",
        # These have one fixed port each by default, and whichever server comes second ends.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    ]
    for name, port, grpc in zip(names, ports[::2], ports[1::2], strict=True):
        argv += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
    # Each bucket has volumes of its own: one at a time, or a few buckets take them all.
    env = {"PATH": os.environ["PATH"], "HOME": str(data), "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
    child = Child(argv, log=data / "log", env=env)
    server = S3Server(f"http://127.0.0.1:{ports[6]}", f"http://127.0.0.1:{ports[4]}", child)

    def ready() -> bool:
        try:
            server.client().list_buckets()
            probe = server.bucket()
            server.client().put_object(Bucket=probe, Key="probe", Body=b"x")
        except (BotoCoreError, ClientError):
            return False
        return True

    try:
        child.wait_ready(ready, timeout_s=PATIENCE_S)
    except BaseException:
        child.stop(grace_s=2)
        raise
    return server
