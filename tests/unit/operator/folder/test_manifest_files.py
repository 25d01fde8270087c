"""Files of manifests: what is read, and where the finger points when something is wrong."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tenantry_operator.folder import manifest_files
from tenantry_operator.folder.manifest_files import ManifestFile

GOOD = """\
apiVersion: tenantry.dev/v1alpha1
kind: TenantModel
metadata:
  name: ann
spec:
  userId: ann
  model:
    uri: file:///models/ann.joblib
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tenants.yaml"


def read(file: Path, text: str | bytes) -> ManifestFile:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return manifest_files.read(file)


def problem(content: ManifestFile) -> str:
    """The only document's, which must be there."""
    (document,) = content.documents
    assert content.broken is None
    assert document.model is None
    return str(document.problem)


def names(content: ManifestFile) -> list[str | None]:
    return [document.name for document in content.documents]


def test_a_good_manifest(file: Path) -> None:
    (document,) = read(file, GOOD).documents
    assert (document.namespace, document.name, document.problem) == ("default", "ann", None)
    assert document.model is not None
    assert document.model.spec.user_id == "ann"


@pytest.mark.parametrize(
    ("was", "becomes", "line", "blames"),
    [
        ("uri: file:///models/ann.joblib", "uri: https://x/ann", 8, "spec.model.uri: must be s3://"),
        ("    uri:", "    url:", 8, "spec.model.url: unknown field; did you mean uri?"),
        ("  userId: ann\n", "", 5, "spec.userId: is required and missing"),
        ("  userId: ann", "  userId: 42", 6, "spec.userId: must be a string, got 42 (put it in quotes)"),
        ("  name: ann", "  name: Ann", 4, "metadata.name: must be a DNS subdomain"),
        (
            "v1alpha1",
            "v9",
            1,
            "apiVersion: must be 'tenantry.dev/v1alpha1' or 'tenantry.dev/v1beta1', got 'tenantry.dev/v9'",
        ),
        ("kind: TenantModel", "kind: TenantModle", 2, "kind: must be 'TenantModel', got 'TenantModle'"),
        ("metadata:\n  name: ann\n", "", 1, "metadata: is required and missing"),
        ("    uri: file:///models/ann.joblib\n", "", 7, "spec.model: is required and missing"),
    ],
)
def test_the_line_and_the_field_of_what_is_wrong(
    file: Path, was: str, becomes: str, line: int, blames: str
) -> None:
    content = read(file, GOOD.replace(was, becomes))
    assert problem(content).startswith(f"{file}:{line}: {blames}")
    told = content.documents[0].problem
    assert told is not None
    assert told.line == line


def test_the_line_counts_from_the_top_of_the_file_not_of_the_document(file: Path) -> None:
    bad = GOOD.replace("name: ann", "name: bob").replace("userId: ann", "userId: b b")
    content = read(file, f"# tenants\n---\n{GOOD}---\n{bad}---\n{GOOD.replace('ann', 'cid')}")
    assert names(content) == ["ann", "bob", "cid"]
    assert [document.model is not None for document in content.documents] == [True, False, True]
    assert str(content.documents[1].problem).startswith(f"{file}:17: spec.userId: ")


def test_a_syntax_error_keeps_what_stands_before_it(file: Path) -> None:
    content = read(file, f"{GOOD}---\nspec: {{\n")
    assert names(content) == ["ann"]
    assert str(content.broken).startswith(f"{file}:11: not YAML: ")


def test_a_tab_is_a_syntax_error_with_its_line(file: Path) -> None:
    content = read(file, GOOD.replace("  userId", "\tuserId"))
    assert content.documents == []
    assert str(content.broken).startswith(f"{file}:6: not YAML: ")
    assert "cannot start any token" in str(content.broken)


def test_a_key_given_twice_is_refused_with_the_line_of_the_second(file: Path) -> None:
    """Most parsers take the last one in silence."""
    content = read(file, GOOD + "  userId: bob\n")
    assert content.documents == []
    assert str(content.broken) == f"{file}:9: not YAML: the key 'userId' is given twice"


@pytest.mark.parametrize("kind", ["List", "TenantModelList"])
def test_lists_as_kubectl_prints_them(file: Path, kind: str) -> None:
    """`kubectl get -o yaml` of several is one document; a bad item hurts no other and has its own line."""
    item = "\n".join(f"  {line}" for line in GOOD.splitlines()).replace("  apiVersion", "- apiVersion", 1)
    bad = item.replace("name: ann", "name: bob").replace("userId: ann", "userId: ''")
    content = read(file, f"apiVersion: v1\nkind: {kind}\nitems:\n{item}\n{bad}\n")
    assert names(content) == ["ann", "bob"]
    assert str(content.documents[1].problem).startswith(f"{file}:17: spec.userId: ")


def test_other_kinds_are_left_alone(file: Path) -> None:
    """A folder of a GitOps repository holds more than ours."""
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
    assert read(file, f"{service}---\n{GOOD}").documents == read(file, GOOD).documents
    assert read(file, service) == ManifestFile([])


def test_ours_by_the_group_alone(file: Path) -> None:
    """A misspelt kind must not make a tenant vanish in silence."""
    assert "kind: must be" in problem(read(file, GOOD.replace("kind: TenantModel", "kind: Tenant")))


@pytest.mark.parametrize("text", ["just words", "- a\n- b", "42"])
def test_what_is_no_mapping_at_all(file: Path, text: str) -> None:
    assert "expected a mapping" in problem(read(file, text))


@pytest.mark.parametrize("text", ["", "\n", " \r\n\t\n"])
def test_a_file_without_any_text_says_so(file: Path, text: str) -> None:
    """An empty document declares nothing; an empty file may be about to be written."""
    content = read(file, text)
    assert (content.documents, content.broken) == ([], None)
    assert str(content.empty).startswith(f"{file}: is empty; ")


@pytest.mark.parametrize("text", ["---\n---\n", "# a comment\n", "--- ~\n", "--- ''\n", "\ufeff"])
def test_empty_documents_are_nothing(file: Path, text: str) -> None:
    assert read(file, text) == ManifestFile([])
    assert read(file, f"---\n---\n{GOOD}---\n").documents == read(file, GOOD).documents


def test_json(tmp_path: Path) -> None:
    document = {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantModel",
        "metadata": {"name": "ann"},
        "spec": {"userId": "ann", "model": {"uri": "s3://models/é.joblib"}},
    }
    (found,) = read(tmp_path / "ann.json", json.dumps(document, indent=1)).documents
    assert found.model is not None
    assert found.model.spec.model.uri == "s3://models/é.joblib"


def test_yaml_1_1_reads_off_as_a_boolean_and_the_message_helps(file: Path) -> None:
    told = problem(read(file, GOOD + "    compile: off\n"))
    assert told == f"{file}:9: spec.model.compile: must be 'auto' or 'off', got False"


def test_a_date_stays_the_text_that_it_was(file: Path) -> None:
    """As it does on an API server, which reads JSON."""
    (document,) = read(file, GOOD.replace("userId: ann", "userId: 2026-11-22")).documents
    assert document.model is not None
    assert document.model.spec.user_id == "2026-11-22"


def test_bytes_that_are_no_text(file: Path) -> None:
    content = read(file, b"name: \x80\xff")
    assert content.documents == []
    assert str(content.broken).startswith(f"{file}")
    assert str(content.broken).count("\n") < 4


def bomb(levels: int, seed: str, wrap: str) -> str:
    """Each level holds nine aliases of the one below."""
    lines = [f"a0: &a0 {seed}"]
    for level in range(1, levels):
        below = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {wrap.format(below)}")
    return "\n".join(lines)


HOSTILE = {
    "100,000 brackets": "[" * 100_000,  # building its nodes once ended the process: recursion in C
    "100,000 closed brackets": "[" * 100_000 + "]" * 100_000,
    "50,000 mappings": "a: " + "{a: " * 50_000,
    "50,000 dashes": "- " * 50_000,
    "a tower of aliases": "\n".join(["- &a0 []"] + [f"- &a{i} [*a{i - 1}]" for i in range(1, 5000)]),
    "an alias that stands in itself": "kind: TenantModel\nspec: &s\n  a: *s\n",
    "a merge of itself": "kind: TenantModel\nspec: &s\n  <<: *s\n",
    "a list that lists itself": "kind: List\nitems: &i\n- kind: List\n  items: *i\n",
    "a key that stands in itself": "? &k [*k]\n: x",
    "a bomb of lists": bomb(9, "[x]", "[{}]"),
    "a bomb of merges": bomb(9, "{x: 1}", "{{<<: [{}]}}"),
    "a bomb as a key": bomb(9, "[x]", "[{}]") + "\n? *a8\n: x",
    "a bomb of items": "kind: List\n"
    + bomb(6, "{kind: List, items: [{kind: TenantModel}]}", "{{kind: List, items: [{}]}}")
    + "\nitems: [*a5]",
    "no boolean": "a: !!bool maybe",  # KeyError in PyYAML
    "an empty number": "a: !!int ''",  # IndexError
    "a list as a key": "? [a, b]\n: x",
    "a Python object": "a: !!python/object/apply:os.system [true]",
    "a lone alias": "*a",
    "NUL": "a: \0",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_is_refused_at_once(file: Path, text: str) -> None:
    """The operator that reads it goes on with all others: no crash, no hang, no memory without bounds."""
    began_s = time.process_time()
    content = read(file, text)
    assert time.process_time() - began_s < 2.0
    assert content.broken is not None
    assert content.documents == []
    assert len(str(content.broken)) < 1000


def test_honest_aliases_and_merges_work(file: Path) -> None:
    text = GOOD.replace("  model:\n", "  model: &model\n") + "---\n" + GOOD.replace("ann", "bob")
    assert [d.problem for d in read(file, text).documents] == [None, None]
    shared = """\
kind: List
base: &base {apiVersion: tenantry.dev/v1alpha1, kind: TenantModel}
items:
- {<<: *base, metadata: {name: ann}, spec: &s {userId: ann, model: {uri: "file:///a"}}}
- {<<: *base, metadata: {name: bob}, spec: {<<: *s, userId: bob}}
"""
    assert [d.model.spec.user_id for d in read(file, shared).documents if d.model] == ["ann", "bob"]


def test_many_tenants_in_one_file_are_no_bomb(file: Path) -> None:
    text = "---\n".join(GOOD.replace("ann", f"t{n}") for n in range(500))
    assert len(read(file, text).documents) == 500


@pytest.mark.parametrize("value", ['"a\\0b"', "x" * 254, "''", "[a]", '"a\\nb"'])
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_a_name_that_no_table_can_hold_is_left_out(file: Path, field: str, value: str) -> None:
    """PostgreSQL takes no NUL, and 63 characters in the column of namespaces."""
    content = read(
        file, GOOD.replace("  name: ann", f"  name: ann\n  {field}x: y").replace(f"{field}x: y", "")
    )
    assert content.documents[0].problem is None
    text = GOOD.replace("  name: ann", f"  {field}: {value}" + ("" if field == "name" else "\n  name: ann"))
    (document,) = read(file, text).documents
    assert document.model is None
    assert (document.name, document.namespace) == (None if field == "name" else "ann", "default")


def test_a_file_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    """Messages go to the registry, which holds text."""
    path = tmp_path / os.fsdecode(b"\xff.yaml")
    told: Any = read(path, GOOD.replace("userId: ann", "userId: ''")).documents[0].problem
    assert str(told).encode()
    assert str(told).startswith(f"{tmp_path}/\\udcff.yaml:6: ")


def test_a_huge_file_is_not_read(file: Path) -> None:
    with file.open("wb") as opened:
        opened.truncate(1 << 30)
    message = f"{file}: is larger than 16 MiB, which a manifest never is"
    assert str(manifest_files.read(file).broken) == message


def test_a_file_that_is_not_there_is_the_callers_business(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        manifest_files.read(file)
