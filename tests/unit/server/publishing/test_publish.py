"""Publishing: the artifact whole and under a new name, then a manifest that names exactly it."""

import hashlib
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tenantry import ModelId, TenantModel
from tenantry.errors import ArtifactAccessDenied, InvalidManifest, NotPublished
from tenantry_server import FileSystemModelRepository, S3ModelRepository, publish
from tenantry_server.artifacts.s3 import make_client
from tenantry_server.publishing import object_name
from tenantry_server.toys import SumModel
from tests.support.stores.s3 import S3Server

ONE_ROW = pd.DataFrame({"a": [1.0]})


def file_of(declared: TenantModel) -> Path:
    return Path(unquote(declared.spec.model.uri.removeprefix("file://")))


def pinned(declared: TenantModel) -> str:
    return str(declared.spec.model.pinned())


def test_the_same_bytes_published_twice_at_once_have_two_names(tmp_path: Path) -> None:
    """A name that never repeats can't be overwritten."""
    uris = {publish(SumModel(), user_id="ann", to=tmp_path).spec.model.uri for _ in range(20)}
    assert len(uris) == 20


def test_the_sha256_is_that_of_the_stored_bytes_and_the_model_answers(tmp_path: Path) -> None:
    declared = publish(SumModel(plus=5), user_id="Ann+1@shop:a", to=tmp_path / "models")
    data = file_of(declared).read_bytes()
    assert hashlib.sha256(data).hexdigest() == declared.spec.model.sha256
    model = FileSystemModelRepository().get_model(pinned(declared))
    assert model.predict(ONE_ROW).tolist() == [6.0]


def test_a_file_is_published_as_it_is(tmp_path: Path) -> None:
    source = tmp_path / "trained.PKL"
    source.write_bytes(b"any bytes at all")
    declared = publish(source, user_id="ann", to=tmp_path / "models", check=False)
    assert file_of(declared).read_bytes() == b"any bytes at all"
    assert declared.spec.model.uri.endswith(".PKL")


def test_the_manifest_parses_back_to_what_was_declared(tmp_path: Path) -> None:
    declared = publish(
        LogisticRegression().fit([[0.0], [1.0]], [0, 1]),
        user_id="ann",
        to=tmp_path / "models",
        manifests=tmp_path / "manifests",
        name="ann-1",
        namespace="shop",
        spec={
            "prewarm": True,
            "refreshInterval": "5m",
            "model": {"method": "predict_proba", "format": "sklearn"},
        },
    )
    written = yaml.safe_load((tmp_path / "manifests" / "ann-1.yaml").read_text())
    assert TenantModel.parse(written) == declared
    assert (declared.namespace, declared.name) == ("shop", "ann-1")
    assert (declared.spec.prewarm, declared.spec.refresh_s) == (True, 300.0)
    assert (declared.spec.model.method, declared.spec.model.format) == ("predict_proba", "sklearn")


def test_further_fields_cannot_redirect_the_model_to_another_user(tmp_path: Path) -> None:
    spec = {"userId": "bob", "model": {"uri": "file:///else", "sha256": "0" * 64}}
    declared = publish(SumModel(), user_id="ann", to=tmp_path, spec=spec)
    assert declared.spec.user_id == "ann"
    assert hashlib.sha256(file_of(declared).read_bytes()).hexdigest() == declared.spec.model.sha256


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"user_id": ""}, "spec.userId"),
        ({"user_id": "_ann"}, "spec.userId"),
        ({"user_id": "ann/../bob"}, "spec.userId"),
        ({"user_id": "ann?x#y"}, "spec.userId"),
        ({"user_id": "a" * 254}, "spec.userId"),
        ({"user_id": 4.2}, "spec.userId"),
        ({"user_id": np.float64(42.0)}, "spec.userId"),  # whole numbers beside a missing one, in pandas
        ({"user_id": True}, "spec.userId"),
        ({"user_id": None}, "spec.userId"),
        ({"user_id": b"ann"}, "spec.userId"),
        ({"user_id": -7}, "spec.userId"),
        ({"user_id": "ann", "name": "Not A Name"}, "metadata.name"),
        ({"user_id": "ann", "namespace": "a.b"}, "metadata.namespace"),
        ({"user_id": "ann", "spec": {"prewarn": True}}, "spec.prewarn"),
        ({"user_id": "ann", "spec": {"model": {"method": "guess"}}}, "spec.model.method"),
        ({"user_id": "ann", "spec": {"model": "sklearn"}}, "spec.model"),
    ],
)
def test_a_broken_rule_is_refused_before_anything_is_stored(
    arguments: dict[str, Any], field: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidManifest) as raised:
        publish(SumModel(), to=tmp_path / "models", manifests=tmp_path / "manifests", **arguments)
    assert raised.value.field == field
    assert list(tmp_path.iterdir()) == []


class Store(StrEnum):
    NORTH = "north-1"


@pytest.mark.parametrize(
    ("user_id", "text"),
    [
        (7, "7"),
        (np.int64(7), "7"),
        (np.str_("ann"), "ann"),
        (pd.Series([89], dtype="Int64")[0], "89"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Store.NORTH, "north-1"),
    ],
)
def test_ids_of_a_table_are_user_ids(user_id: Any, text: str, tmp_path: Path) -> None:
    declared = publish(SumModel(), user_id=user_id, to=tmp_path, manifests=tmp_path)
    assert (declared.spec.user_id, declared.name, type(declared.spec.user_id)) == (text, text, str)
    assert yaml.safe_load((tmp_path / f"{text}.yaml").read_text())["spec"]["userId"] == text


@pytest.mark.parametrize(
    ("address", "help_"),
    [
        ("gs://b/x", "is neither a folder nor s3://BUCKET/PREFIX"),
        ("az://b/x", "is neither a folder nor s3://BUCKET/PREFIX"),
        ("https://b.example/x", "is neither a folder nor s3://BUCKET/PREFIX"),
        ("file://host/x", "is neither a folder nor s3://BUCKET/PREFIX"),
        ("S3://b/x", "write s3://b/x"),
        ("s3:/b/x", "write s3://b/x"),
        ("s3:///", "it names no bucket"),
        ("s3://", "it names no bucket"),
        (Path("s3://b/x"), "write s3://b/x, as a text and not as a Path"),
        (Path("gs://b/x"), "is neither a folder"),
    ],
)
def test_an_address_that_is_no_store_is_refused_before_anything_is_written(
    address: Any, help_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model once lay in a folder `gs%3A` of the training pod, and publish said it was done."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotPublished, match=help_):
        publish(SumModel(), user_id="ann", to=address, manifests="manifests")
    if not str(address).startswith("s3://"):
        with pytest.raises(NotPublished, match=help_):
            publish(SumModel(), user_id="ann", to="models", manifests=address)
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_can_be_none_is_refused_before_anything_is_stored() -> None:
    with pytest.raises(InvalidManifest, match=r"spec\.model\.uri"):
        publish(SumModel(), user_id="ann", to="s3://Not_A_Bucket/x")


@pytest.mark.parametrize("address", ["./gs:/models", "models:v1/x", "{}/s3:/b", "file://{}/a%20b"])
def test_a_folder_may_have_colons_in_its_name(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    declared = publish(SumModel(), user_id="ann", to=address.format(tmp_path))
    assert file_of(declared).is_relative_to(tmp_path)
    assert FileSystemModelRepository().get_model(pinned(declared)).predict(ONE_ROW).tolist() == [1.0]


USER_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252}", fullmatch=True)
ALIKE = st.text("aA.-_@~:+1", min_size=1, max_size=6).map(lambda tail: f"a{tail}")


def declared_name(user_id: str) -> str:
    """The name, once the parser has accepted it together with the user id."""
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": object_name(user_id)},
        "spec": {"userId": user_id, "model": {"uri": "file:///m.joblib"}},
    }
    return TenantModel.parse(document).name


@given(user_ids=st.lists(USER_IDS | ALIKE, min_size=2, max_size=10, unique=True))
def test_every_user_id_has_a_valid_name_of_its_own(user_ids: list[str]) -> None:
    """Two users with one name would overwrite each other's manifest."""
    assert len({declared_name(user_id) for user_id in user_ids}) == len(user_ids)


@given(name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]{1,5}){0,3}", fullmatch=True))
def test_a_user_id_that_is_a_name_stays_as_it_is(name: str) -> None:
    assert object_name(name) == name


def test_to_s3_it_is_read_back_by_its_pinned_id(s3: S3Server, s3_bucket: str, tmp_path: Path) -> None:
    declared = publish(
        SumModel(plus=5),
        user_id="Ann+1@shop:a~b",
        to=f"s3://{s3_bucket}/models/",
        manifests=tmp_path,
        s3_endpoint_url=s3.url,
    )
    assert declared.spec.model.uri.startswith(f"s3://{s3_bucket}/models/Ann+1@shop:a~b/")
    assert ModelId.parse(pinned(declared)).sha256 == declared.spec.model.sha256
    model = S3ModelRepository(make_client(s3.url)).get_model(pinned(declared))
    assert model.predict(ONE_ROW).tolist() == [6.0]
    assert len(list(tmp_path.glob("*.yaml"))) == 1


def test_the_same_bytes_go_to_s3_twice_in_a_second(s3_bucket: str) -> None:
    """As a training job does that is run again at once; nothing is overwritten, nothing fails."""
    uris = {publish(SumModel(), user_id="ann", to=f"s3://{s3_bucket}").spec.model.uri for _ in range(3)}
    assert len(uris) == 3


def test_a_refused_upload_declares_nothing(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ArtifactAccessDenied):
        publish(SumModel(), user_id="ann", to=f"s3://{s3_bucket}", manifests=tmp_path)
    assert list(tmp_path.iterdir()) == []
