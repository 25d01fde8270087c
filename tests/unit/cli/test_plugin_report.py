"""A support bundle holds what helps, and nothing that must stay where it is."""

import os
import stat
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from tenantry_cli.plugin.commands import cli
from tenantry_cli.plugin.report import redacted

HIDDEN = {
    "a registry's password": ("postgresql://me:hunter2@db/tenantry", "hunter2"),
    "a password with an at sign": ("url=postgresql://me:hun@ter2@db:5432/x", "ter2"),
    "a keyword": ("could not connect: host=db password=hunter2 dbname=x", "hunter2"),
    "JSON": ('{"event": "x", "password": "hunter2", "user": "ann"}', "hunter2"),
    "an environment": ("AWS_SECRET_ACCESS_KEY=hunter2hunter2", "hunter2"),
    "a presigned URL": ("https://s3/b/k?X-Amz-Credential=AKIA1&X-Amz-Signature=hunter2&x=1", "hunter2"),
    "an access key": ("key AKIAABCDEFGHIJKLMNOP refused", "AKIAABCDEFGHIJKLMNOP"),
    "a JWT": ("got eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
    "a header": ("Authorization: Bearer hunter2hunter2", "hunter2"),
    "an API key": ("api-key: hunter2", "hunter2"),
}


@pytest.mark.parametrize(("text", "secret"), HIDDEN.values(), ids=HIDDEN.keys())
def test_what_looks_like_a_secret_is_blotted_out(text: str, secret: str) -> None:
    assert secret not in redacted(text)
    assert "***" in redacted(text)


KEPT = (
    "s3://models/ann/7.joblib is not a usable model: it ends too early",
    "postgresql://me@db:5432/tenantry?sslmode=require",
    '      "secretKeyRef": {"key": "url", "name": "tenantry-registry"}',
    "http://[::1]:8080 and http://server-0.tenantry-servers.tenantry.svc:8080",
)


@pytest.mark.parametrize("text", KEPT)
def test_what_helps_stays(text: str) -> None:
    assert redacted(text) == text


# Every call of kubectl answers; pods have logs, and one more object than a person may read.
KUBECTL = r"""#!/bin/sh
case "$*" in
  *" --previous"*) echo "previous terminated container not found" >&2; exit 1 ;;
  *logs*) echo '{"event": "leading", "url": "postgresql://me:hunter2@db/x"}' ;;
  *"get pods"*) echo '{"items": [{"kind": "Pod", "metadata": {"name": "tenantry-server-0"}, "spec": {
    "env": [{"name": "OTHER", "value": "hunter2"}, {"name": "TENANTRY_PORT", "value": "8080"}]}}]}' ;;
  *"get leases"*) echo "leases is forbidden" >&2; exit 1 ;;
  *"-o json"*) echo '{"items": []}' ;;
  *) echo "some text" ;;
esac
"""


def test_the_archive_has_the_logs_and_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    archive = tmp_path / "report.tar.gz"
    done = CliRunner().invoke(cli, ["report", "-o", str(archive)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "left out: leases.json (kubectl get leases --namespace: leases is forbidden)" in done.stderr
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    with tarfile.open(archive) as packed:
        files = {each.name: packed.extractfile(each) for each in packed}
        texts = {name: file.read().decode() for name, file in files.items() if file is not None}
    assert "leading" in texts["tenantry-report/logs/tenantry-server-0.log"]
    assert not any("previous" in name for name in texts)
    assert "leases.json" in texts["tenantry-report/left-out.txt"]
    assert '"8080"' in texts["tenantry-report/pods.json"]
    assert {"tenantry-report/crd.json", "tenantry-report/tenantmodels.json"} <= set(texts)
    assert "hunter2" not in "".join(texts.values())
