"""The artifacts of some tenants in a bucket, and how our server gets at them."""

import hashlib
from dataclasses import dataclass

from tests.support.stores.s3 import ACCESS_KEY, SECRET_KEY, S3Server

from benchmarks.serving.tenants import Tenants
from tenantry import ModelId


@dataclass(frozen=True, slots=True)
class Store:
    """A bucket.

    Attributes:
        url: of the S3 server.
        bucket: its name.
        keys: of the tenants' artifacts, in their order.
        model_ids: pinned by sha256, as `publish` declares them.
    """

    url: str
    bucket: str
    keys: tuple[str, ...]
    model_ids: list[str]

    def settings(self, url: str | None = None) -> dict[str, str]:
        """The environment of a server that reads from here, or through a proxy at `url`."""
        return {
            "TENANTRY_S3_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


def hold(server: S3Server, tenants: Tenants) -> Store:
    """Write the tenants' artifacts, on disk and from there to a new bucket."""
    tenants.write()
    bucket = server.bucket()
    client = server.client()
    keys, model_ids = [], []
    for n in range(tenants.count):
        data = tenants.path(n).read_bytes()
        key = f"models/{tenants.user_id(n)}.joblib"
        client.put_object(Bucket=bucket, Key=key, Body=data)
        keys.append(key)
        digest = hashlib.sha256(data).hexdigest()
        model_ids.append(str(ModelId(f"s3://{bucket}/{key}", sha256=digest)))
    return Store(server.url, bucket, tuple(keys), model_ids)
