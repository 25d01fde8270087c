"""The CRD and the parser accept and refuse the same documents.

The CRD is held against the table twice: by JSON Schema, for speed and for strictness about unknown
fields, and by a real API server.
"""

import copy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tenantry.errors import InvalidManifest
from tenantry.manifest.spec import API_GROUP, API_VERSION, KIND, TenantModel
from tests.contract.tenantmodel_cases import ACCEPTED, REFUSED, document
from tests.support.kubernetes.control_plane import ControlPlane
from tests.support.kubernetes.deploying.manifests import CRDS, composed, dry_run, rendered
from tests.support.waiting import until

CRD = Path(__file__).parents[2] / "crds" / "tenantmodel.yaml"


@pytest.fixture(scope="module")
def crd() -> Any:
    return yaml.safe_load(CRD.read_text())


@pytest.fixture(scope="module")
def validator(crd: Any) -> jsonschema.Draft4Validator:
    """The CRD's schema with the strictness of `kubectl apply`, which refuses unknown fields."""
    schema = copy.deepcopy(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
    return jsonschema.Draft4Validator(_strict(schema))


def _pruned(value: Any) -> Any:
    """An API server drops nulls before it looks at anything else."""
    if isinstance(value, dict):
        return {key: _pruned(inner) for key, inner in value.items() if inner is not None}
    return value


def _strict(schema: Any) -> Any:
    """No unknown fields, and `$` as RE2 has it: not before a line break at the end."""
    if isinstance(schema, dict):
        strict = {key: _strict(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict):
            strict["additionalProperties"] = False
        if isinstance(schema.get("pattern"), str):
            strict["pattern"] = schema["pattern"].removesuffix("$") + r"\Z"
        return strict
    return [_strict(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_both_accept(spec: Any, validator: jsonschema.Draft4Validator) -> None:
    validator.validate(_pruned(document(spec)))
    parsed = TenantModel.parse(document(spec))
    assert TenantModel.parse(parsed.to_manifest()) == parsed


@pytest.mark.parametrize(("spec", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_both_refuse(spec: Any, field: str, validator: jsonschema.Draft4Validator) -> None:
    """The parser's words begin with the field to blame."""
    assert not validator.is_valid(_pruned(document(spec)))
    with pytest.raises(InvalidManifest) as raised:
        TenantModel.parse(document(spec))
    assert raised.value.field == field
    assert str(raised.value).startswith(f"{field}: ")


def test_both_speak_of_the_same_type(crd: Any) -> None:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]["name"]
    assert (crd["spec"]["group"], f"{API_GROUP}/{version}", names["kind"]) == (
        API_GROUP,
        API_VERSION,
        KIND,
    )


def test_both_versions_are_one_but_for_their_name(crd: Any) -> None:
    """So the conversion None loses nothing, and a manifest moves by one word."""
    old, new = crd["spec"]["versions"]
    assert (old["name"], new["name"]) == ("v1alpha1", "v1beta1")
    assert (old["storage"], new["storage"], old["served"], new["served"]) == (True, False, True, True)
    assert {**old, "name": "", "storage": ""} == {**new, "name": "", "storage": ""}
    assert crd["spec"]["conversion"] == {"strategy": "None"}


def test_the_parser_reads_both_versions() -> None:
    declared = document(next(iter(ACCEPTED.values())))
    moved = {**declared, "apiVersion": "tenantry.dev/v1beta1"}
    assert TenantModel.parse(moved) == TenantModel.parse(declared)


def test_every_field_of_the_crd_is_described(crd: Any) -> None:
    """`kubectl explain` has nothing else to show."""

    def undescribed(schema: Any, path: str) -> list[str]:
        inner = schema.get("properties", {}) | schema.get("items", {}).get("properties", {})
        bare = [] if "description" in schema else [path]
        return bare + [bad for name, sub in inner.items() for bad in undescribed(sub, f"{path}.{name}")]

    assert undescribed(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], "") == []


def test_status_begins_unobserved(crd: Any) -> None:
    """Kstatus takes an object without observedGeneration for done; -1 makes it wait for the operator."""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert schema["properties"]["status"]["default"] == {"observedGeneration": -1}
    assert crd["spec"]["versions"][0]["subresources"] == {"status": {}}


RESOURCES = "/apis/tenantry.dev/v1alpha1/namespaces/default/tenantmodels"


@pytest.fixture(scope="module", params=["plane", "modern"])
def served(request: pytest.FixtureRequest, crd: Any) -> ControlPlane:
    """An old API server and one of today, with the CRD established."""
    server: ControlPlane = request.getfixturevalue(request.param)
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    status, body = server.request("POST", path, crd)
    assert status in (201, 409), body
    until(lambda: server.request("GET", RESOURCES)[0] == 200, "the CRD is served")
    return server


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_real_api_server_accepts(spec: Any, served: ControlPlane) -> None:
    """And gives back what the parser reads alike, with a status that says: not checked yet."""
    status, body = served.request("POST", RESOURCES, document(spec))
    assert status == 201, body
    assert body["status"] == {"observedGeneration": -1}
    assert TenantModel.parse(body) == TenantModel.parse(document(spec))
    assert served.request("DELETE", f"{RESOURCES}/store-042")[0] == 200


@pytest.mark.parametrize(("spec", "field"), REFUSED.values(), ids=REFUSED.keys())
def test_a_real_api_server_refuses(spec: Any, field: str, served: ControlPlane) -> None:
    """An unknown field is refused from 1.25 on; before, it is dropped, and whatever is left decides."""
    status, body = served.request("POST", f"{RESOURCES}?fieldValidation=Strict", document(spec))
    if status == 201:
        assert served.request("DELETE", f"{RESOURCES}/store-042")[0] == 200
        assert field.rpartition(".")[2] in ("modle", "metod", "row")
        assert served.crd_version_info < (1, 25)
        return
    assert status in (400, 422), body
    assert field in body["message"]


def test_a_modern_api_server_keeps_the_user_and_finds_tenants_by_it(crd: Any, modern: ControlPlane) -> None:
    """CEL and selectable fields."""
    status, body = modern.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    assert status in (201, 409), body
    until(lambda: modern.request("GET", RESOURCES)[0] == 200, "the CRD is served")
    for name in ("one", "two"):
        declared = document({"userId": f"user-{name}", "model": {"uri": "s3://models/it.joblib"}})
        declared["metadata"] = {"name": name}
        assert modern.request("POST", RESOURCES, declared)[0] == 201
    found = modern.request("GET", f"{RESOURCES}?fieldSelector=spec.userId%3Duser-two")[1]["items"]
    assert [each["metadata"]["name"] for each in found] == ["two"]
    found[0]["spec"]["userId"] = "somebody-else"
    status, body = modern.request(
        "PUT", f"{RESOURCES}/two", found[0] | {"apiVersion": API_VERSION, "kind": KIND}
    )
    assert status == 422
    assert "userId is immutable; delete this TenantModel and declare another one" in body["message"]
    for name in ("one", "two"):
        assert modern.request("DELETE", f"{RESOURCES}/{name}")[0] == 200


def test_what_was_written_in_one_version_is_read_in_the_other(served: ControlPlane) -> None:
    """Status included: the operator writes it in v1alpha1, whatever the manifest says."""
    beta = RESOURCES.replace("v1alpha1", "v1beta1")
    declared = {**document(next(iter(ACCEPTED.values()))), "apiVersion": "tenantry.dev/v1beta1"}
    assert served.request("POST", beta, declared)[0] == 201
    name = declared["metadata"]["name"]
    found = served.request("GET", f"{RESOURCES}/{name}")[1]
    assert (found["apiVersion"], found["spec"]) == ("tenantry.dev/v1alpha1", declared["spec"])
    status = {"observedGeneration": 1, "modelId": "it", "conditions": []}
    assert served.request("PUT", f"{RESOURCES}/{name}/status", {**found, "status": status})[0] == 200
    found = served.request("GET", f"{beta}/{name}")[1]
    assert (found["apiVersion"], found["status"]) == ("tenantry.dev/v1beta1", status)
    assert served.request("DELETE", f"{beta}/{name}")[0] == 200


def test_the_deprecation_of_v1alpha1_is_one_line_away(served: ControlPlane, tmp_path: Path) -> None:
    """And is off: nothing warns yet."""
    off, on = (
        next(crd for crd in crds if crd["metadata"]["name"] == "tenantmodels.tenantry.dev")
        for crds in (rendered(CRDS), composed(tmp_path, CRDS, CRDS / "deprecated-v1alpha1"))
    )
    assert "deprecated" not in off["spec"]["versions"][0]
    assert on["spec"]["versions"][0]["deprecated"] is True
    assert {**on["spec"]["versions"][1]} == {**off["spec"]["versions"][1]}
    status, answer = dry_run(served, on)
    assert status == 200, answer
    assert "v1beta1" in answer["spec"]["versions"][0]["deprecationWarning"]
