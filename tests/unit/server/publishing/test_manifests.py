"""Manifests that every reader of YAML reads alike: PyYAML, one for YAML 1.2, kubectl, our own folder."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tenantry import TenantModel
from tenantry_operator.folder import manifest_files
from tenantry_server.publishing import manifests, object_name, to_yaml
from tests.support.kubernetes import kubectl

TRAPS = [
    *(
        "0089",
        "08",
        "017",
        "0o17",
        "0x1f",
        "0b11",
        "1e5",
        "12E34",
        "3e+2",
        "1e-7",
        "1.",
        "1.5",
        "1_000",
        "1:30",
    ),
    *("190:20:30", "12:30:45.5", "7", "0", "0.0", "1E400", "685230.15", "685_230.15"),
    *("y", "Y", "n", "N", "yes", "No", "ON", "off", "true", "False", "TRUE", "null", "Null", "NULL", "nan"),
    *(
        "inf",
        "NaN",
        "2026-11-29",
        "2026-11-29T10:00:00Z",
        "2001-12-14t21:59:43.10-05:00",
        "a:",
        "a-",
        "a:b",
        "ann",
    ),
]
VALUES = [
    *TRAPS,
    "~",
    ".5",
    ".inf",
    "-.inf",
    ".NaN",
    "-1",
    "+1",
    "",
    " ",
    "=",
    "<<",
    "a: b",
    "a #b",
    "- a",
    "a\nb",
]
USER_IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,40}", fullmatch=True)
LIKE_NUMBERS = st.text("0123456789abcdefoxyneE._~:+-", min_size=1, max_size=8).map(lambda tail: f"1{tail}")
KEYS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="?#")


def declared(user_id: str, key: str = "a.joblib") -> TenantModel:
    return TenantModel.parse(
        {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": object_name(user_id)},
            "spec": {
                "userId": user_id,
                "model": {"uri": f"s3://models/{key}", "sha256": "1" * 62 + "e5", "versionId": "1e5"},
                "refreshInterval": "5m",
                "replicas": 3,
                "prewarm": True,
            },
        }
    )


def expected(one: TenantModel, values: list[str] | None = None) -> dict[str, Any]:
    document = one.to_manifest()
    if values is not None:
        document["metadata"]["annotations"] = annotations(values)["annotations"]
    return document


def annotations(values: list[str]) -> dict[str, Any]:
    """As a person may have written them, the trap as a key also."""
    return {"annotations": {f"a{n}": value for n, value in enumerate(values)} | {v: v for v in TRAPS}}


def kubectl_reads(folder: Path, text: str) -> list[Any]:
    """What kubectl makes of each document, without a server: it adds one label and prints the rest."""
    path = folder / "manifests.yaml"
    path.write_text(text)
    done = subprocess.run(
        [kubectl.provide(), "label", "--local", "-f", path, "read=by-kubectl", "-o", "json"],
        env={"HOME": str(folder), "KUBECONFIG": str(folder / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    decoder, at, found = json.JSONDecoder(), 0, []
    while done.stdout[at:].strip():
        document, end = decoder.raw_decode(done.stdout[at:].lstrip())
        at += len(done.stdout[at:]) - len(done.stdout[at:].lstrip()) + end
        assert document["metadata"].pop("labels") == {"read": "by-kubectl"}
        found.append(document)
    return found


@pytest.mark.parametrize("user_id", TRAPS)
def test_a_user_id_is_text_to_readers_of_both_versions_of_yaml(user_id: str, tmp_path: Path) -> None:
    text = to_yaml(declared(user_id))
    assert yaml.safe_load(text) == YAML(typ="safe", pure=True).load(text) == expected(declared(user_id))
    path = tmp_path / "one.yaml"
    path.write_text(text)
    assert [each.model for each in manifest_files.read(path).documents] == [declared(user_id)]


def test_kubectl_reads_what_was_declared(tmp_path: Path) -> None:
    """It once read 0089 as the number 89, which the API server refuses as a userId."""
    models = [declared(user_id) for user_id in TRAPS]
    text = "---\n".join(to_yaml(one, annotations(VALUES)) for one in models)
    assert kubectl_reads(tmp_path, text) == [expected(one, VALUES) for one in models]


def test_kubectl_would_read_a_number_without_quotes(tmp_path: Path) -> None:
    """So the test above can fail."""
    (read,) = kubectl_reads(tmp_path, to_yaml(declared("0089")).replace('userId: "0089"', "userId: 0089"))
    assert read["spec"]["userId"] == 89


@given(user_id=USER_IDS | LIKE_NUMBERS, key=st.text(KEYS, min_size=1, max_size=30))
def test_any_user_id_and_any_key_are_read_back(user_id: str, key: str) -> None:
    """Line breaks of Unicode, emoji and spaces among them; no text goes over two lines."""
    one = declared(user_id, key)
    text = to_yaml(one)
    assert yaml.safe_load(text) == YAML(typ="safe", pure=True).load(text) == expected(one)
    assert len(text.splitlines()) == len(to_yaml(declared("ann")).splitlines())


def test_a_long_uri_stays_on_its_line() -> None:
    one = declared("ann", "two words " * 100)
    assert f'uri: "{one.spec.model.uri}"' in to_yaml(one)


def test_plain_words_stay_plain() -> None:
    """A person reads and edits it."""
    assert "userId: store-042\n" in to_yaml(declared("store-042"))


TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(VALUES),
    st.from_regex(r"[a-z0-9./:_%=+ -]{0,140}", fullmatch=True),
    st.text("abc: #\"\\'{}[]&*!|>%@`,?-\n\t", max_size=10),
)
PARTS = st.recursive(
    TEXTS | st.booleans() | st.integers(),
    lambda parts: st.dictionaries(TEXTS.filter(bool), parts, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-zA-Z./-]{0,135}", fullmatch=True), PARTS, min_size=1))
def test_what_is_written_without_pyyaml_is_what_it_writes(document: dict[str, Any]) -> None:
    try:
        written = "".join(manifests._lines(document, ""))
    except manifests._OtherError:
        return  # which is left to it
    assert written == manifests._dumped(document)


def test_a_usual_manifest_is_written_without_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "_dumped", None)
    assert 'userId: "0089"' in to_yaml(declared("0089"), {"labels": {"team": "shop"}})
