"""`tenantry score` from and to a real S3 server; the models are scripted."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tenantry.client import NoServer
from tenantry.scoring import Options, close
from tenantry_cli.scoring import job
from tenantry_cli.scoring.job import Job
from tenantry_cli.scoring.places import place
from tests.apart.batch_server import BatchServer, running
from tests.support.stores.s3 import S3Server

SALES = pd.DataFrame({"user_id": ["ann", "bob"] * 500, "x": [float(number) for number in range(1000)]})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[BatchServer]:
    monkeypatch.setattr("tenantry.processes.backoff.delay_s", lambda *_args, **_options: 0.0)
    monkeypatch.setattr(job, "PART_ROWS", 300)
    with running(BatchServer()) as server:
        yield server
    close()


def a_job(server: BatchServer, source: str, out: str, **options: Any) -> Job:
    chosen = Options(url=server.url, rows_per_request=100, in_flight=2, retries=1)
    return Job(place(source, None), place(out, None), chosen, **options)


def keys(s3: S3Server, bucket: str) -> list[str]:
    """The names of all objects."""
    return sorted(each["Key"] for each in s3.client().list_objects_v2(Bucket=bucket).get("Contents", ()))


def put(s3: S3Server, bucket: str, key: str, table: pd.DataFrame) -> str:
    """Store a table; return its address."""
    body = table.to_csv(index=False).encode()
    if key.endswith(".parquet"):
        sink = io.BytesIO()
        table.to_parquet(sink, index=False, row_group_size=170)
        body = sink.getvalue()
    s3.client().put_object(Bucket=bucket, Key=key, Body=body)
    return f"s3://{bucket}/{key}"


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_an_interrupted_run_goes_on_in_s3(
    s3: S3Server, s3_bucket: str, server: BatchServer, suffix: str
) -> None:
    source = put(s3, s3_bucket, f"in/sales{suffix}", SALES)
    out = f"s3://{s3_bucket}/out/scores{suffix}"
    server.refuse = lambda asked, _number: (0, {}) if asked.rows[-1]["x"] > 700 else None
    with pytest.raises(NoServer):
        a_job(server, source, out).run(lambda *_: None)
    parts, ending = f"out/scores{suffix}.parts", ".arrow" if suffix == ".parquet" else suffix
    assert keys(s3, s3_bucket) == [
        f"in/sales{suffix}",
        f"{parts}/notes.json",
        f"{parts}/part-000000{ending}",
        f"{parts}/part-000001{ending}",
    ]
    server.refuse, server.asked = lambda _asked, _number: None, []
    again = a_job(server, source, out)
    assert again.done_rows == 600
    again.run(lambda *_: None)
    assert min(row["x"] for asked in server.asked for row in asked.rows) == 600.0
    assert keys(s3, s3_bucket) == [f"in/sales{suffix}", f"out/scores{suffix}"]
    body = io.BytesIO(s3.client().get_object(Bucket=s3_bucket, Key=f"out/scores{suffix}")["Body"].read())
    scored = pd.read_parquet(body) if suffix == ".parquet" else pd.read_csv(body)
    assert scored["prediction"].tolist() == [2.0 * number for number in range(1000)]


def test_what_s3_refuses_is_said_as_of_files(
    s3: S3Server, s3_bucket: str, server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"S3 refused it \(HTTP 404"):
        a_job(server, f"s3://{s3_bucket}/nothing.csv", str(tmp_path / "out.csv"))
    source = put(s3, s3_bucket, "sales.csv", SALES)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(PermissionError, match="HTTP 403"):
        a_job(server, source, str(tmp_path / "out.csv"))
    assert server.asked == []


def test_an_object_that_is_replaced_meanwhile_is_an_error(
    s3: S3Server, s3_bucket: str, server: BatchServer, tmp_path: Path
) -> None:
    """No table is read half from one version and half from another."""
    begun = a_job(server, put(s3, s3_bucket, "sales.parquet", SALES), str(tmp_path / "out.csv"))
    opened = place(f"s3://{s3_bucket}/sales.parquet", None).opened()
    put(s3, s3_bucket, "sales.parquet", SALES.iloc[::-1])
    with opened, pytest.raises(OSError, match="replaced while it was read"):
        opened.read()
    assert begun.done_rows == 0
