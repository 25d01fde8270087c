"""The types of a TenantModel's fields: each with a rule, and the words for whatever breaks it."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ConfigDict, PlainSerializer, Strict, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

# Not strict as a whole, or only an instance would be accepted for a dataclass; each field is strict.
FIELDS = ConfigDict(alias_generator=to_camel, extra="forbid", populate_by_name=True)


class NullIsAbsent:
    """Prunes nulls first, as an API server does."""

    __slots__ = ()

    @model_validator(mode="before")
    @classmethod
    def _prune(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return {key: value for key, value in data.items() if value is not None}
        return data


def _rule(pattern: str, words: str, *, max_length: int = 253) -> AfterValidator:
    """Check a pattern, with the words of the error where a value breaks it."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if len(value) > max_length or compiled.fullmatch(value) is None:
            raise PydanticCustomError("rule", "must be {words}", {"words": words})
        return value

    return AfterValidator(check)


_Text = Annotated[str, Strict()]
UserId = Annotated[
    _Text,
    _rule(
        r"[A-Za-z0-9][A-Za-z0-9._~@:+-]{0,252}",
        "1 to 253 characters of A-Z a-z 0-9 . _ ~ @ : + - and begin with a letter or a digit",
    ),
]
ArtifactUri = Annotated[
    _Text,
    _rule(
        r"(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/|file:///)[^?#\x00-\x1f\x7f]+",
        "s3://BUCKET/KEY or file:///ABSOLUTE/PATH without ? and # (a version goes into versionId), "
        "at most 1,100 characters",
        max_length=1100,
    ),
]
Format = Annotated[
    _Text, _rule(r"[a-z][a-z0-9-]{0,30}", "a loader's name, such as sklearn: lower case, digits, -")
]
Sha256 = Annotated[_Text, _rule(r"[0-9a-f]{64}", "64 lower-case hexadecimal digits")]
VersionId = Annotated[_Text, _rule(r"[A-Za-z0-9._+/=-]+", "an S3 object version id", max_length=1024)]
Duration = Annotated[
    _Text,
    _rule(
        r"(0*[1-9][0-9]{0,4}h([0-9]{1,5}m)?([0-9]{1,5}s)?"
        r"|0*[1-9][0-9]{0,4}m([0-9]{1,5}s)?|0*[1-9][0-9]{0,4}s)",
        "a duration above zero, such as 30s, 5m or 1h30m",
    ),
]


METHODS = ("predict", "predict_proba", "decision_function")


def _method(value: Any) -> Any:
    """Check one method, or a list of different ones; a list of one is that method."""
    given = value if isinstance(value, list | tuple) else [value]
    known = all(isinstance(each, str) and each in METHODS for each in given)
    if not known or not given or len(set(given)) < len(given):
        words = "'predict', 'predict_proba' or 'decision_function', or a list of different ones of these"
        raise PydanticCustomError("rule", "must be {words}", {"words": words})
    return tuple(given) if len(given) > 1 else given[0]


Method = Annotated[
    str | tuple[str, ...],
    BeforeValidator(_method),
    PlainSerializer(lambda method: method if isinstance(method, str) else list(method)),
]

MOST_REPLICAS = 100


def _replicas(value: Any) -> Any:
    """Check a whole number as JSON has it: 2.0 is one, True is not."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value not in range(1, MOST_REPLICAS + 1)
    ):
        words = f"a whole number from 1 to {MOST_REPLICAS}"
        raise PydanticCustomError("rule", "must be {words}", {"words": words})
    return int(value)


Replicas = Annotated[int, BeforeValidator(_replicas)]

_MOST = 1 << 53  # exact as a number of JSON


def _positive(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= _MOST:
        raise PydanticCustomError("rule", "must be {words}", {"words": "a number above 0"})
    return float(value)


def _positive_integer(value: Any) -> Any:
    """Check a whole number as JSON has it: 2.0 is one, True is not."""
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    if not whole or not 1 <= value <= _MOST:
        raise PydanticCustomError("rule", "must be {words}", {"words": "a whole number, at least 1"})
    return int(value)


Positive = Annotated[float, BeforeValidator(_positive)]
PositiveInteger = Annotated[int, BeforeValidator(_positive_integer)]

ObjectName = Annotated[
    str,
    _rule(
        r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
        "a DNS subdomain: lower-case letters, digits, - and ., at most 253 characters",
    ),
]
Namespace = Annotated[
    str,
    _rule(
        r"(?=.{1,63}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?",
        "a DNS label: lower-case letters, digits and -, at most 63 characters",
    ),
]
