"""The operator and the ValidatingAdmissionPolicy give the same verdict, by one table of cases.

A CEL library evaluates the admission policy: the API server of these tests is older than such policies.
"""

import copy
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import pytest
import yaml
from celpy import celtypes
from celpy.adapter import json_to_cel

from tenantry import TenantModel
from tenantry.errors import InvalidManifest
from tenantry_operator.policies.document import TenantPolicy
from tenantry_operator.policies.rules import NAME_LABEL, Policies
from tenantry_server.formats import FORMATS
from tests.contract.policy_cases import CASES, Case

ROOT = Path(__file__).parents[2]


def policy_document(spec: dict[str, Any], name: str = "p") -> dict[str, Any]:
    return {
        "apiVersion": "tenantry.dev/v1alpha1",
        "kind": "TenantPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def denial(*policies: dict[str, Any], case: Case) -> str | None:
    model = TenantModel.parse(
        {
            "apiVersion": "tenantry.dev/v1alpha1",
            "kind": "TenantModel",
            "metadata": {"name": "m", "namespace": "team-a"},
            "spec": case.declared,
        }
    )
    parsed = [TenantPolicy.parse(policy_document(spec, f"p{n}")) for n, spec in enumerate(policies)]
    return Policies(parsed, {"team-a": case.labels}).denial(model)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_operator_permits_or_names_policy_and_rule(case: Case) -> None:
    found = denial(case.policy, case=case)
    if case.rule is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(f"TenantPolicy 'p0', rule {case.rule}: ")


def _replace(text: Any, old: Any, new: Any) -> celtypes.StringType:
    return celtypes.StringType(str(text).replace(str(old), str(new)))


def _join(parts: Any, between: Any) -> celtypes.StringType:
    return celtypes.StringType(str(between).join(map(str, parts)))


def _starts(text: Any, prefix: Any) -> celtypes.BoolType:
    return celtypes.BoolType(str(text).startswith(str(prefix)))


class Admission:
    """The shipped ValidatingAdmissionPolicy, evaluated as an API server does."""

    def __init__(self) -> None:
        documents = list(yaml.safe_load_all((ROOT / "manifests/policy/admission.yaml").read_text()))
        self.spec = documents[0]["spec"]
        self._environment = celpy.Environment()

    def value(self, expression: str, seen: dict[str, Any]) -> Any:
        functions: Any = {"replace": _replace, "join": _join, "startsWith": _starts}
        program = self._environment.program(self._environment.compile(expression), functions=functions)
        return program.evaluate(seen)

    def messages(self, case: Case) -> list[str]:
        labels = {**case.labels, NAME_LABEL: "team-a"}
        seen: dict[str, Any] = {
            "object": json_to_cel({"spec": case.declared}),
            "params": json_to_cel({"metadata": {"name": "p0"}, "spec": case.policy}),
            "namespaceObject": json_to_cel({"metadata": {"name": "team-a", "labels": labels}}),
        }
        variables = celtypes.MapType()
        for variable in self.spec["variables"]:
            found = self.value(variable["expression"], seen | {"variables": variables})
            variables[celtypes.StringType(variable["name"])] = found
        seen["variables"] = variables
        return [
            str(self.value(each["messageExpression"], seen))
            for each in self.spec["validations"]
            if not self.value(each["expression"], seen)
        ]


@pytest.fixture(scope="module")
def admission() -> Admission:
    return Admission()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_admission_policy_says_the_same_at_apply(case: Case, admission: Admission) -> None:
    messages = admission.messages(case)
    if case.rule is None:
        assert messages == []
    else:
        assert [m.partition(":")[0] for m in messages] == [f"TenantPolicy p0, rule {case.rule}"]


def test_every_policy_that_selects_a_namespace_binds_it() -> None:
    case = Case({}, None)
    found = denial({"methods": ["predict"]}, {"userIds": ["x"]}, case=case)
    assert found is not None
    assert found.startswith("TenantPolicy 'p1', rule userIds")


def test_a_namespace_without_a_policy_is_not_restricted() -> None:
    assert denial(case=Case({}, None)) is None


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft4Validator:
    crd = yaml.safe_load((ROOT / "crds/tenantpolicy.yaml").read_text())
    found = copy.deepcopy(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    found["properties"]["spec"]["additionalProperties"] = False
    return jsonschema.Draft4Validator(found)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_crd_accepts_what_the_parser_accepts(case: Case, schema: jsonschema.Draft4Validator) -> None:
    schema.validate(policy_document(case.policy))


REFUSED = {
    "an unknown rule": {"users": ["x"]},
    "no pattern": {"userIds": []},
    "a slash in a pattern": {"userIds": ["a/b"]},
    "a prefix without its slash": {"uris": ["s3://models/team-a"]},
    "another scheme": {"uris": ["http://models/"]},
    "another variable": {"uris": ["s3://models/${name}/"]},
    "another method": {"methods": ["fit"]},
    "optional signatures": {"signatures": "optional"},
    "no replicas": {"maxReplicas": 0},
    "an unknown operator": {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}},
}


@pytest.mark.parametrize("spec", REFUSED.values(), ids=REFUSED.keys())
def test_both_refuse(spec: dict[str, Any], schema: jsonschema.Draft4Validator) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(policy_document(spec))
    with pytest.raises(InvalidManifest, match=r"^spec\."):
        TenantPolicy.parse(policy_document(spec))


def test_the_strict_example_keeps_namespaces_apart() -> None:
    strict = yaml.safe_load((ROOT / "manifests/policy/strict.yaml").read_text())["spec"]
    assert denial(strict, case=Case({}, None)) is None
    for stranger in (
        Case({}, None, user="team-b.1"),
        Case({}, None, uri="s3://models/team-b/7.skops"),
        Case({}, None, uri="s3://models/team-a/7.joblib"),
    ):
        assert denial(strict, case=stranger) is not None


def test_a_suffix_means_the_same_format_for_policies_and_for_servers() -> None:
    for known in FORMATS:
        for suffix in known.suffixes:
            case = Case({"formats": [known.name]}, None, uri=f"s3://models/7{suffix}")
            assert denial(case.policy, case=case) is None
