"""What the data plane says: an answer, and how quickly one would come."""

import enum
from dataclasses import dataclass

from tenantry.model import Predictions


@dataclass(slots=True)
class Answer:
    """The result of a prediction.

    Attributes:
        predictions: shape (n,) or (n, outputs).
        model_id: the exact model that made them.
    """

    predictions: Predictions
    model_id: str


class Pace(enum.Enum):
    """How a small prediction for a user would run on this server."""

    UNKNOWN = enum.auto()  # the model is not in memory, or this server does not know which one it is
    QUICK = enum.auto()  # at once
    USUAL = enum.auto()  # in a thread, and not for long; or it was never measured
    SLOW = enum.auto()  # in a thread, longer than passing it on takes
