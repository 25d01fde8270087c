"""`tenantry validate`: what an operator would refuse, with its place, and nothing stored."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from tenantry_cli.commands.artifacts.validate import command
from tenantry_server.publishing import publish, publish_many, to_yaml
from tenantry_server.toys import SumModel
from tests.support.stores.s3 import S3Server

EXAMPLE = pd.DataFrame({"a": [1.0]})
POLICY = {
    "apiVersion": "tenantry.dev/v1alpha1",
    "kind": "TenantPolicy",
    "metadata": {"name": "teams"},
    "spec": {"userIds": ["${namespace}.*"]},
}


def validate(*args: str | Path) -> Result:
    return CliRunner().invoke(command, [str(each) for each in args], catch_exceptions=False)


@pytest.fixture
def tenants(tmp_path: Path) -> Path:
    """Twenty sound manifests."""
    items = [{"user_id": f"user-{number}", "model": SumModel(), "example": EXAMPLE} for number in range(20)]
    report = publish_many(items, to=tmp_path / "models", manifests=tmp_path / "tenants")
    assert not report.failed
    return tmp_path / "tenants"


def test_what_publish_writes_is_sound(tenants: Path) -> None:
    said = validate(tenants)
    assert (said.exit_code, said.stdout) == (0, ""), said.stdout
    assert "20 TenantModels in 20 files: nothing wrong" in said.stderr


def test_each_mistake_has_its_file_line_and_words(tenants: Path) -> None:
    sound = (tenants / "user-0.yaml").read_text()
    folder = tenants / "team"
    folder.mkdir()
    two = folder / "two.yaml"
    misspelt = sound.replace("user-0", "user-50").replace("  model:\n", "  modle:\n")
    two.write_text(sound.replace("user-0", "user-49") + "---\n" + misspelt)
    (folder / "same-name.yaml").write_text(sound)
    (folder / "same-user.yaml").write_text(sound.replace("name: user-0", "name: another"))
    (folder / "torn.yaml").write_text("apiVersion: [tenantry.dev")
    (folder / "twice.yaml").write_text(
        sound.replace("user-0", "user-51").replace("spec:", "kind: x\nspec:")
    )
    foreign = sound.replace("user-0", "user-52").replace(".joblib", ".rds", 1)
    (folder / "format.yaml").write_text(foreign)
    said = validate(tenants, "--offline")
    assert said.exit_code == 1
    lines = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    line = sound[: sound.index("  model:")].count("\n") + sound.count("\n") + 2
    expected = {
        f"{two}:{line}": "spec.modle: unknown field; did you mean model?",
        f"{folder}/same-name.yaml:1": "default/user-0: is also declared in ",
        f"{folder}/same-user.yaml:1": "default/another: spec.userId: 'user-0' is the user of ",
        f"{folder}/torn.yaml:2": "not YAML",
        f"{folder}/twice.yaml:6": "not YAML: the key 'kind' is given twice",
        f"{folder}/format.yaml:1": "default/user-52: ",
    }
    assert lines.keys() == expected.keys(), said.stdout
    assert [where for where, words in expected.items() if words not in lines[where]] == []
    assert "6 errors" in said.stderr


def test_artifacts_that_are_missing_or_other_bytes_are_found(tenants: Path, tmp_path: Path) -> None:
    """Of a card too; --offline looks at none of them."""
    files = sorted((tmp_path / "models").rglob("*.joblib"))
    files[0].unlink()
    files[1].write_bytes(b"other bytes")
    Path(f"{files[2]}.card.json").write_bytes(b"{}")
    Path(f"{files[3]}.card.json").unlink()
    said = validate(tenants)
    errors = said.stdout.splitlines()
    assert said.exit_code == 1
    assert len(errors) == 4
    for file, words in zip(
        files,
        ("no artifact at {}", "{} has sha256", "{}.card.json has sha256", "no artifact at {}.card.json"),
        strict=False,
    ):
        assert sum(words.format(file.as_uri()) in error for error in errors) == 1, errors
    assert validate(tenants, "--offline").exit_code == 0


def test_policies_are_asked(tenants: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(json.dumps(POLICY))
    said = validate(tenants, "--offline", "--policy-file", policy)
    assert said.exit_code == 1
    assert said.stdout.count("TenantPolicy 'teams', rule userIds: 'user-") == 20
    policy.write_text(json.dumps(POLICY | {"spec": {"userIds": ["user-*"]}}))
    assert validate(tenants, "--offline", "--policy-file", policy).exit_code == 0


def test_a_store_is_asked_and_one_that_is_silent_is_a_note(
    tmp_path: Path, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline without credentials can validate; what it could not see, it says."""
    declared = publish(SumModel(), user_id="ann", to=f"s3://{s3_bucket}/models", example=EXAMPLE)
    (tmp_path / "ann.yaml").write_text(to_yaml(declared))
    assert validate(tmp_path / "ann.yaml").exit_code == 0
    key = declared.spec.model.uri.removeprefix(f"s3://{s3_bucket}/")
    s3.client().delete_object(Bucket=s3_bucket, Key=key)
    said = validate(tmp_path / "ann.yaml")
    assert said.exit_code == 1
    assert f"no artifact at {declared.spec.model.uri}" in said.stdout
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    said = validate(tmp_path / "ann.yaml")
    assert (said.exit_code, said.stdout) == (0, "")
    assert "not checked: the store of " in said.stderr


def test_a_folder_without_one_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("kind: ConfigMap\n")
    done = CliRunner().invoke(command, [str(tmp_path)])
    assert done.exit_code == 1
    assert "no TenantModel was found" in done.output
