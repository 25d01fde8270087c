"""What one task publishes and another one waits for, small enough for XCom."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from tenantry import ModelId, TenantModel

Key = tuple[str, str]
"""Namespace and name of a TenantModel."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """One TenantModel, and the version of it that is waited for.

    Attributes:
        namespace, name: of the TenantModel.
        user_id: whom the model is for; empty where only the name was given.
        model_id: the version, as `ModelId` writes it; None: whichever is declared.
        generation: that declared this version, where an API server said so; else None.
    """

    namespace: str
    name: str
    user_id: str = ""
    model_id: str | None = None
    generation: int | None = None

    @classmethod
    def of(cls, declared: TenantModel, generation: int | None = None) -> Self:
        """Return what to wait for after `declared` was published."""
        exact = str(declared.spec.model.pinned())
        return cls(declared.namespace, declared.name, declared.spec.user_id, exact, generation)

    @property
    def key(self) -> Key:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def uri(self) -> str | None:
        """Of the artifact; None: any."""
        return None if self.model_id is None else ModelId.parse(self.model_id).uri

    @property
    def sha256(self) -> str | None:
        """Of its bytes; None: any."""
        return None if self.model_id is None else ModelId.parse(self.model_id).sha256

    def __str__(self) -> str:
        place = self.name if self.namespace == "default" else f"{self.namespace}/{self.name}"
        return f"user {self.user_id} ({place})" if self.user_id else place

    def to_xcom(self) -> dict[str, Any]:
        """Return a document of JSON, about 300 bytes.

        Example:
            >>> Awaited("default", "store-1", "store-1", "file:///m/a.joblib#sha256=ab").to_xcom()["name"]
            'store-1'
        """
        document: dict[str, Any] = {
            "user_id": self.user_id,
            "namespace": self.namespace,
            "name": self.name,
            "model_id": self.model_id,
        }
        return document if self.generation is None else document | {"generation": self.generation}


def read(given: Any, *, namespace: str) -> list[Awaited]:
    """Read what to wait for: documents of `Awaited.to_xcom`, or names of TenantModels.

    Args:
        given: a list of either; a name is ``NAME`` or ``NAMESPACE/NAME``.
        namespace: of names without one.

    Raises:
        ValueError: it is something else.

    Example:
        >>> [str(each) for each in read(["store-1", "shops/store-2"], namespace="default")]
        ['store-1', 'shops/store-2']
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        raise ValueError(f"a list of TenantModels is needed, got {_shown(given)}")  # noqa: TRY004 - as below
    return [_one(each, namespace) for each in given]


def _one(each: Any, namespace: str) -> Awaited:
    if isinstance(each, str) and each:
        before, separator, name = each.partition("/")
        return Awaited(before, name) if separator else Awaited(namespace, each)
    if isinstance(each, Mapping) and each.get("name"):
        generation = each.get("generation")
        return Awaited(
            str(each.get("namespace") or namespace),
            str(each["name"]),
            str(each.get("user_id") or ""),
            each.get("model_id"),
            None if generation is None else int(generation),
        )
    raise ValueError(
        "a TenantModel to wait for is its name, or an entry of what PublishModelsOperator returns; "
        f"got {_shown(each)}"
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
