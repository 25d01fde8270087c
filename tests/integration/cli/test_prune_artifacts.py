"""`tenantry prune-artifacts`: nothing that is in use goes, and nothing that `publish` did not store."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from tenantry import TenantModel
from tenantry.manifest.status import State, Status
from tenantry.registry import Assignment, Claim, Writes, open_engine
from tenantry_cli.commands.artifacts.prune_artifacts import command
from tenantry_server.publishing import publish, to_yaml, versions
from tenantry_server.toys import SumModel
from tests.support.databases.migrated import migrate
from tests.support.stores.s3 import S3Server
from tests.support.tenants.operator_side import leading

EXAMPLE = pd.DataFrame({"a": [1.0]})
DAY_S = 86_400.0


def stored(
    folder: Path, number: int, *, user: str = "ann", card: bool = False, age_s: float = DAY_S
) -> Path:
    """A version as `publish` would have stored it a while ago; a higher number is newer."""
    data = f"{user} {number}".encode()
    at = datetime.now(UTC) - timedelta(seconds=age_s) + timedelta(milliseconds=number)
    stem = f"{at:%Y%m%dT%H%M%S%f}-{hashlib.sha256(data).hexdigest()[:12]}"
    path = folder / user / f"{stem}.joblib"
    path.parent.mkdir(parents=True, exist_ok=True)
    for file, content in [(path, data)] + [(Path(f"{path}.card.json"), b"{}")] * card:
        file.write_bytes(content)
        os.utime(file, (time.time() - age_s, time.time() - age_s))
    return path


def declares(path: Path, name: str = "ann") -> str:
    data = {"uri": path.as_uri(), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": name},
        "spec": {"userId": name, "model": data},
    }
    return to_yaml(TenantModel.parse(document))


def prune(to: Path | str, *args: str) -> Result:
    return CliRunner().invoke(command, [str(to), *args], catch_exceptions=False)


@pytest.fixture
def tenants(tmp_path: Path) -> Path:
    folder = tmp_path / "tenants"
    folder.mkdir()
    return folder


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_the_newest_stay_and_the_rest_goes_with_its_cards(tmp_path: Path, tenants: Path) -> None:
    models = tmp_path / "models"
    old = [stored(models, number, card=True) for number in range(6)]
    other = [stored(models, number, user="bob") for number in range(3)]
    alone = ("--manifests", str(tenants), "--no-registry")
    said = prune(models, *alone)
    assert said.stdout.splitlines() == [str(path) for path in old[:3]]
    assert "3 versions, 21 B: would be deleted with --yes" in said.stderr
    assert len(left(models)) == 15, "a dry run deletes nothing"
    said = prune(models, *alone, "--yes")
    assert (said.exit_code, said.stdout.splitlines()) == (0, [str(path) for path in old[:3]])
    kept = [path.name for path in old[3:]]
    assert left(models) == sorted(
        [*kept, *(f"{name}.card.json" for name in kept), *(p.name for p in other)]
    )
    assert prune(models, *alone, "--yes").stdout == "", "twice deletes no more"


@pytest.mark.parametrize("where", ["manifest", "escaped", "elsewhere", "broken rule", "card"])
def test_what_a_manifest_names_stays(tmp_path: Path, tenants: Path, where: str) -> None:
    """Valid or not, as its card alone, and where another machine mounts the folder at another path."""
    models = tmp_path / "models"
    old = [stored(models, number) for number in range(3)]
    text = declares(old[0])
    if where == "escaped":
        text = text.replace("/models/", "/%6dodels/").replace("-", "%2D")
    elif where == "elsewhere":
        text = text.replace(str(models), "/mnt/somewhere")
    elif where == "broken rule":
        text = text.replace("userId", "usreId")
    elif where == "card":
        text = text.replace(".joblib", ".joblib.card.json")
    (tenants / "ann.yaml").write_text(text)
    said = prune(models, "--manifests", str(tenants), "--no-registry", "--keep", "1", "--yes")
    assert said.stdout.splitlines() == [str(old[1])]


def test_what_the_registry_names_stays(tmp_path: Path) -> None:
    """Declared, answering (the last good version), a candidate, and the row that servers read."""
    models = tmp_path / "models"
    old = [stored(models, number) for number in range(7)]
    ids = [f"{path.as_uri()}#sha256=aa" for path in old]
    url = f"sqlite:///{tmp_path}/registry.db"
    engine = open_engine(url)
    migrate(engine)
    operator = leading(engine)
    spec = {"userId": "ann", "model": {"uri": old[0].as_uri()}}
    claim = Claim(
        "1", "default", "ann", "ann", 0.0, 1, spec, Status(State.READY, "Ready", "fine", 1, ids[1])
    )
    row = Assignment("ann", "1", 1, ids[2], ids[3])
    operator.commit(Writes(claims=[claim], assignments=[row]))
    said = prune(models, "--registry", url, "--keep", "1", "--yes")
    assert said.stdout.splitlines() == [str(old[4]), str(old[5])]
    engine.dispose()


def test_a_publication_under_way_is_left_alone(tmp_path: Path, tenants: Path) -> None:
    """Young by the clock of its publisher or by that of the store: either may be wrong."""
    models = tmp_path / "models"
    by_both = [stored(models, number, age_s=60.0) for number in range(2)]
    by_name, by_store = stored(models, 2, age_s=60.0), stored(models, 3)
    os.utime(by_name, (0.0, 0.0))
    os.utime(by_store)
    ahead = stored(models, 4, age_s=-DAY_S)
    said = prune(models, "--manifests", str(tenants), "--no-registry", "--keep", "1", "--yes")
    assert said.stdout == ""
    assert left(models) == sorted(path.name for path in (*by_both, by_name, by_store, ahead))


def test_an_enemy_gets_nothing_deleted_that_publish_did_not_store(tmp_path: Path, tenants: Path) -> None:
    """Links out of the folder, names that look like versions, and files of others."""
    models, outside = tmp_path / "models", tmp_path / "outside"
    newest = stored(models, 9)
    precious = [stored(outside, number) for number in range(3)]
    (models / "link").symlink_to(outside / "ann")  # a user's folder that leads elsewhere
    (models / "ann" / precious[0].name).symlink_to(precious[0])  # a version that leads elsewhere
    stem = precious[1].name.partition(".")[0]
    users = models / "ann"
    others = [
        users / f"{stem[:-12]}{'0' * 12}.joblib",  # another digest than its bytes
        users / "notes.txt",
        users / f"{stem}.tar.gz",
        users / f"x{stem}.joblib",
        users / f"{stem}.joblib.bak",
        users / f"99999999T999999999999-{hashlib.sha256(b'x').hexdigest()[:12]}.joblib",
        users / "20200101T000000000000-0123456789ab.joblib.card.json",  # a card alone
        models / f"{stem}.joblib",  # no user's folder
        models / "a b" / f"{stem}.joblib",  # no user has this name
        models / "ann" / "deep" / f"{stem}.joblib",
    ]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (0.0, 0.0))
    (users / f"20200101T000000000001-{'1' * 12}.joblib").mkdir()
    before = left(tmp_path)
    said = prune(models, "--manifests", str(tenants), "--no-registry", "--keep", "1", "--yes")
    assert (said.exit_code, said.stdout) == (0, "")
    assert left(tmp_path) == before
    assert newest.exists()
    assert f"stays: {others[0]} does not hold the bytes that its name says" in said.stderr


def test_where_a_source_of_names_can_t_be_read_nothing_is_deleted(tmp_path: Path, tenants: Path) -> None:
    models = tmp_path / "models"
    old = [stored(models, number) for number in range(3)]
    given = [str(models), "--keep", "1", "--yes"]
    (tenants / "ann.yaml").write_text(f"uri: [{old[0].as_uri()}")
    for args, words in (
        (["--manifests", str(tenants), "--no-registry"], "nothing was deleted"),
        (["--registry", f"sqlite:///{tmp_path}/none.db"], "no registry at"),
        (["--no-registry"], "--no-registry needs --manifests"),
    ):
        done = CliRunner().invoke(command, [*given, *args])
        assert done.exit_code != 0
        assert words in done.stderr + str(done.exception)
    assert len(left(models)) == 3


def test_one_that_is_named_again_meanwhile_stays(
    tmp_path: Path, tenants: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rollback while versions are hashed: names are read again right before anything goes."""
    models = tmp_path / "models"
    old = [stored(models, number) for number in range(3)]
    real = versions.FolderStore.is_itself

    def rolled_back(store: versions.FolderStore, version: versions.Version) -> bool:
        (tenants / "ann.yaml").write_text(declares(old[0]))
        return real(store, version)

    monkeypatch.setattr(versions.FolderStore, "is_itself", rolled_back)
    said = prune(models, "--manifests", str(tenants), "--no-registry", "--keep", "1", "--yes")
    assert said.stdout.splitlines() == [str(old[1])]


def test_a_bucket_is_pruned_like_a_folder(
    tmp_path: Path, tenants: Path, s3: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects of others stay, and so does a user whose name begins with another's."""
    monkeypatch.setattr(versions, "YOUNG_S", -DAY_S)  # nobody can write an old object
    to = f"s3://{s3_bucket}/models/"

    def published(user: str) -> TenantModel:
        return publish(SumModel(), user_id=user, to=to, example=EXAMPLE)

    ours = [published("ann") for _ in range(4)]
    others = [published("ann-b"), published("ann-b")]
    kept = published("A@b")
    (tenants / "ann.yaml").write_text(to_yaml(ours[0]))
    client = s3.client()
    first = ours[1].spec.model.uri.removeprefix(f"s3://{s3_bucket}/")
    strange = [
        first.replace("models/ann/", "models/ann/deep/"),
        first.replace("models/ann/", "models/"),
        first.replace("models/ann/", "backup/ann/"),
        first[: -len("0123456789ab.joblib")] + "0123456789ab.joblib",
    ]
    for key in strange:
        client.put_object(Bucket=s3_bucket, Key=key, Body=b"of somebody else")
    said = prune(to, "--manifests", str(tenants), "--no-registry", "--keep", "1", "--yes")
    assert said.stdout.splitlines() == [*_uris(ours[1:3]), *_uris(others[:1])], said.stderr
    found = {each["Key"] for each in client.list_objects_v2(Bucket=s3_bucket)["Contents"]}
    stays = [uri.removeprefix(f"s3://{s3_bucket}/") for uri in _uris([ours[0], ours[3], others[1], kept])]
    assert found == {*stays, *(f"{key}.card.json" for key in stays), *strange}


def _uris(declared: Sequence[TenantModel]) -> list[str]:
    return [each.spec.model.uri for each in declared]


def test_a_bucket_that_refuses_is_said_in_words(tmp_path: Path, s3_bucket: str, tenants: Path) -> None:
    given = [f"s3://{s3_bucket}-none/models", "--manifests", str(tenants), "--no-registry"]
    done = CliRunner().invoke(command, given)
    assert done.exit_code != 0
    assert json.dumps(str(done.exception)).count(f"{s3_bucket}-none") == 1


def test_a_signature_goes_with_its_version_and_is_none_itself(tmp_path: Path, tenants: Path) -> None:
    """Beside an artifact without a suffix, its name looks like one of a version."""
    for number in range(3):
        path = stored(tmp_path / "models", number)
        bare = path.rename(path.with_suffix(""))
        for signed in (bare, stored(tmp_path / "models", number, user="bob")):
            Path(f"{signed}.sig").write_bytes(b"{}")
            os.utime(f"{signed}.sig", (time.time() - DAY_S, time.time() - DAY_S))
    (tenants / "ann.yaml").write_text(declares(bare))
    done = prune(tmp_path / "models", "--keep", "2", "--no-registry", "--manifests", str(tenants), "--yes")
    assert done.exit_code == 0, done.output
    for user in ("ann", "bob"):
        left = sorted(each.name for each in (tmp_path / "models" / user).iterdir())
        assert (len(left), sum(name.endswith(".sig") for name in left)) == (4, 2), done.output
