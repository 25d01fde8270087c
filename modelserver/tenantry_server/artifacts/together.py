"""Small artifacts whose models are loaded together, for a fraction of what each takes alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tenantry import Model, ModelId

MOST_BYTES = 64 << 10
"""Of an artifact: a larger one would hold up the others."""

READING_S = 0.5
"""What was not read after so long is loaded alone: a store that is slow holds up no others."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was read of a model, its digests checked.

    Attributes:
        exact: the exact model.
        data: the artifact.
        card: the model's card; None: it has none.
    """

    exact: ModelId
    data: bytes
    card: str | None


LoaderOfMany: TypeAlias = Callable[[Sequence[Artifact]], Sequence[Model | None]]
"""Makes models of several artifacts; None for each that has to be loaded alone, which says why."""
