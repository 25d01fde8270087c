"""The TenantModel as a type: parsed and validated from a manifest, in words that name the field.

The CRD in ``crds/tenantmodel.yaml`` states the same rules for a Kubernetes API server; one table of
cases in the tests drives both. Reading files is not done here.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from pydantic_core import ErrorDetails

from tenantry.errors import InvalidManifest
from tenantry.manifest.fields import (
    FIELDS,
    ArtifactUri,
    Duration,
    Format,
    Method,
    Namespace,
    NullIsAbsent,
    ObjectName,
    Replicas,
    Sha256,
    UserId,
    VersionId,
)
from tenantry.manifest.limits import NO_LIMITS, Limits
from tenantry.model_id import CARD_SUFFIX, DEFAULT_METHOD, ModelId

API_GROUP = "tenantry.dev"
VERSION = "v1alpha1"  # what is written and asked for; v1beta1 is the same in every field
API_VERSION = f"{API_GROUP}/{VERSION}"
KIND, PLURAL = "TenantModel", "tenantmodels"

_DURATION_PART = re.compile(r"(\d+)(h|m|s)")
_UNIT_S = {"h": 3600, "m": 60, "s": 1}


# Dataclasses with slots, as an operator holds tens of thousands: a BaseModel takes three times the memory.
@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=FIELDS)
class CardSource(NullIsAbsent):
    """Where the model's card is, and which exact bytes it has (``spec.model.card``)."""

    uri: ArtifactUri
    sha256: Sha256


@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=FIELDS)
class ModelSource(NullIsAbsent):
    """Where the artifact is, and how it predicts (``spec.model``)."""

    uri: ArtifactUri
    format: Format = Field(default="")
    method: Method = DEFAULT_METHOD
    compile: Literal["auto", "off"] = "auto"
    extra_columns: Literal["refuse", "ignore"] = "refuse"
    sha256: Sha256 = Field(default="")
    version_id: VersionId = Field(default="")
    card: CardSource | None = None

    def pinned(self, *, etag: str = "", version_id: str = "", sha256: str = "") -> ModelId:
        """Return the id of exact bytes: this source with what the store says about its object now."""
        return ModelId(
            self.uri,
            version_id=version_id or self.version_id or None,
            etag=etag or None,
            sha256=self.sha256 or sha256 or None,
            format=self.format or None,
            method=self._methods if self._methods != DEFAULT_METHOD else None,
            compile=self.compile if self.compile != "auto" else None,
            extra_columns=self.extra_columns if self.extra_columns != "refuse" else None,
            card=self.card.sha256 if self.card is not None else None,
            card_uri=self._card_uri,
        )

    @property
    def _methods(self) -> str:
        return self.method if isinstance(self.method, str) else ",".join(self.method)

    @property
    def _card_uri(self) -> str | None:
        """Where the card lies; None: there is none, or it lies beside the artifact."""
        if self.card is None or self.card.uri == self.uri + CARD_SUFFIX:
            return None
        return self.card.uri


@pydantic_dataclass(frozen=True, slots=True, kw_only=True, config=FIELDS)
class TenantModelSpec(NullIsAbsent):
    """What a person declares (``spec``)."""

    user_id: UserId
    model: ModelSource
    refresh_interval: Duration = Field(default="")
    prewarm: StrictBool = False
    replicas: Replicas = 1
    isolation: Literal["shared", "dedicated"] = "shared"
    limits: Limits = NO_LIMITS

    @property
    def refresh_s(self) -> float | None:
        """Seconds between checks of an object that is overwritten in place; None: never."""
        if not self.refresh_interval:
            return None
        parts = _DURATION_PART.findall(self.refresh_interval)
        return timedelta(seconds=sum(int(n) * _UNIT_S[unit] for n, unit in parts)).total_seconds()


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    name: ObjectName
    namespace: Namespace = "default"


class _Document(BaseModel):
    """A whole manifest; `status` and other metadata are the API server's and are not read here."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    api_version: Literal["tenantry.dev/v1alpha1", "tenantry.dev/v1beta1"] = Field(alias="apiVersion")
    kind: Literal["TenantModel"]
    metadata: _Metadata
    spec: TenantModelSpec
    status: Any = None


@dataclass(frozen=True, slots=True)
class TenantModel:
    """One declared model: who it is for, and which artifact answers.

    Attributes:
        namespace, name: identity of the document.
        spec: what was declared.

    Example:
        >>> declared = TenantModel.parse({
        ...     "apiVersion": "tenantry.dev/v1alpha1", "kind": "TenantModel",
        ...     "metadata": {"name": "store-042"},
        ...     "spec": {"userId": "store-042",
        ...              "model": {"uri": "s3://models/store-042/7.joblib"}},
        ... })
        >>> declared.spec.user_id, declared.spec.model.method
        ('store-042', 'predict')
        >>> TenantModel.parse(declared.to_manifest()) == declared
        True
    """

    namespace: str
    name: str
    spec: TenantModelSpec

    @classmethod
    def parse(cls, document: Any) -> Self:
        """Check a manifest that was already read from YAML or JSON.

        Raises:
            InvalidManifest: names the first field that breaks a rule, its value and the rule.
        """
        if not isinstance(document, Mapping):
            raise InvalidManifest("", f"expected a mapping, got {_shown(document)}")
        try:
            parsed = _Document.model_validate(document, by_alias=True, by_name=False)
        except ValidationError as error:
            errors = error.errors(include_url=False)
            # A misspelt field also leaves a required one missing: report the spelling.
            errors.sort(key=lambda each: each["type"] not in _UNKNOWN)
            raise _explained(errors[0]) from None
        return cls(parsed.metadata.namespace, parsed.metadata.name, parsed.spec)

    def placed(self, found: ModelId) -> ModelId:
        """Return the id of its artifact together with whom it may share a worker process with."""
        return replace(
            found,
            isolation=self.spec.isolation if self.spec.isolation != "shared" else None,
            namespace=self.namespace if self.namespace != "default" else None,
        )

    def to_manifest(self) -> dict[str, Any]:
        """Return the document that `parse` reads back, without defaults."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": _SPEC.dump_python(self.spec, by_alias=True, exclude_defaults=True),
        }


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_SPEC = TypeAdapter(TenantModelSpec)


def _explained(error: ErrorDetails) -> InvalidManifest:
    path = [str(part) for part in error["loc"]]
    field = ".".join(path)
    match error["type"]:
        case "missing":
            problem = "is required and missing"
        case "extra_forbidden" | "unexpected_keyword_argument":
            problem = f"unknown field{_suggestion(path)}"
        case "string_type":
            problem = f"must be a string, got {_shown(error['input'])}{_quote_hint(error['input'])}"
        case "bool_type":
            problem = f"must be true or false, got {_shown(error['input'])}"
        case "literal_error":
            expected = error["ctx"]["expected"] if "ctx" in error else ""
            problem = f"must be {expected}, got {_shown(error['input'])}"
        case "rule":
            problem = f"{error['msg']}, got {_shown(error['input'])}"
        case _:
            problem = f"must be a mapping, got {_shown(error['input'])}"
    return InvalidManifest(field, problem)


_FIELDS_UNDER: dict[tuple[str, ...], Any] = {
    (): _Document,
    ("spec",): TenantModelSpec,
    ("spec", "model"): ModelSource,
    ("spec", "model", "card"): CardSource,
    ("spec", "limits"): Limits,
}


def _suggestion(path: list[str]) -> str:
    model = _FIELDS_UNDER.get(tuple(path[:-1]))
    if model is None:
        return ""
    known = [field.alias or name for name, field in model.__pydantic_fields__.items()]
    close = difflib.get_close_matches(path[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(known)}"


def _quote_hint(value: Any) -> str:
    return " (put it in quotes)" if isinstance(value, int | float) else ""


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}... ({len(text)} characters)"
