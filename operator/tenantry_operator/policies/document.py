"""A TenantPolicy as a type: parsed and validated, in words that name the field.

The CRD in ``crds/tenantpolicy.yaml`` states the same rules for a Kubernetes API server.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from tenantry.errors import InvalidManifest
from tenantry.manifest.fields import MOST_REPLICAS, ObjectName
from tenantry.manifest.limits import Limits

KIND, PLURAL = "TenantPolicy", "tenantpolicies"
NAMESPACE = "${namespace}"

_Text = Annotated[str, StringConstraints(strict=True, max_length=316)]
_UserPattern = Annotated[
    str,
    StringConstraints(strict=True, max_length=253, pattern=r"^(\$\{namespace\}|[A-Za-z0-9._~@:+*-])+$"),
]
_UriPrefix = Annotated[
    str,
    StringConstraints(
        strict=True,
        max_length=1100,
        pattern=r"^(s3://(\$\{namespace\}|[a-z0-9.-])+/|file:///)((\$\{namespace\}|[^?#$\x00-\x1f\x7f])+/)?$",
    ),
]
_Formats = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z][a-z0-9-]{0,30}$")]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data


class Requirement(_Part):
    """One of a selector's matchExpressions."""

    key: _Text
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[_Text, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels meet it; a label that is missing satisfies NotIn, as on Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


class Selector(_Part):
    """Which namespaces a policy is about, as Kubernetes' LabelSelector; an empty one selects all."""

    match_labels: dict[_Text, _Text] = Field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether a namespace with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            each.holds(labels) for each in self.match_expressions
        )


def _some(of: Any) -> Any:
    """A list that states at least one thing; None: this is not restricted."""
    return Annotated[tuple[of, ...] | None, Field(min_length=1, max_length=64)]


class PolicySpec(_Part):
    """What the namespaces of one policy may declare; a rule that is absent restricts nothing."""

    namespace_selector: Selector = Selector()
    user_ids: _some(_UserPattern) = None  # type: ignore[valid-type]
    uris: _some(_UriPrefix) = None  # type: ignore[valid-type]
    formats: _some(_Formats) = None  # type: ignore[valid-type]
    methods: _some(Literal["predict", "predict_proba", "decision_function"]) = None  # type: ignore[valid-type]
    isolation: _some(Literal["shared", "dedicated"]) = None  # type: ignore[valid-type]
    max_replicas: Annotated[int, Field(strict=True, ge=1, le=MOST_REPLICAS)] | None = None
    limits: Limits | None = None
    signatures: Literal["required"] | None = None


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: ObjectName


class TenantPolicy(_Part):
    """One policy.

    Example:
        >>> policy = TenantPolicy.parse({
        ...     "apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantPolicy",
        ...     "metadata": {"name": "teams"}, "spec": {"userIds": ["${namespace}.*"]},
        ... })
        >>> policy.name, policy.spec.user_ids
        ('teams', ('${namespace}.*',))
    """

    api_version: Literal["tenantry.dev/v1alpha1"]
    kind: Literal["TenantPolicy"]
    metadata: _Metadata
    spec: PolicySpec = PolicySpec()

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self.metadata.name

    @classmethod
    def parse(cls, document: Any) -> Self:
        """Check a document that was already read from YAML or JSON.

        Raises:
            InvalidManifest: names the first field that breaks a rule.
        """
        try:
            return cls.model_validate(document, by_alias=True, by_name=False)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidManifest(field, first["msg"]) from None
