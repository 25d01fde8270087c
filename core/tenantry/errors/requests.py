"""Errors about one request."""

from collections.abc import Sequence
from typing import ClassVar

from tenantry.errors.base import TenantryError
from tenantry.errors.models import ModelTooLarge


class InvalidRequest(TenantryError):
    """The request body cannot be understood."""

    reason: ClassVar[str] = "InvalidRequest"


class Unauthenticated(TenantryError):
    """The request carries no key or token that this server accepts."""

    reason: ClassVar[str] = "Unauthenticated"

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}; send `Authorization: Bearer` and an API key or a token")


class Forbidden(TenantryError):
    """What is asked is not for this caller; says nothing about whether it exists."""

    reason: ClassVar[str] = "Forbidden"


class QuotaExceeded(TenantryError):
    """More is asked for a user than the user's limits allow.

    Attributes:
        wait_s: seconds until a request may be answered again, where nobody asks in between.
    """

    reason: ClassVar[str] = "QuotaExceeded"
    retryable: ClassVar[bool] = True

    def __init__(self, user_id: str, allowed: str, *, wait_s: float) -> None:
        super().__init__(f"user {user_id!r} has {allowed}, and more were sent")
        self.wait_s = self.retry_after_s = wait_s


class ModelOverLimit(ModelTooLarge):
    """The model takes more memory than its user's limits allow."""

    reason: ClassVar[str] = "ModelOverLimit"

    def __init__(self, size_bytes: int, most: int) -> None:
        TenantryError.__init__(
            self,
            f"the model takes {size_bytes:,} bytes in memory, and its limits allow cacheBytes {most:,}; "
            "publish a smaller one, or raise the limit",
        )


class RowsTooMany(TenantryError):
    """One request has more rows than the user's limits allow."""

    reason: ClassVar[str] = "RowsTooMany"

    def __init__(self, user_id: str, rows: int, most: int) -> None:
        super().__init__(
            f"{rows:,} rows; user {user_id!r} may send {most:,} in one request: send fewer at a time"
        )


class BatchTooLong(TenantryError):
    """One request has more rows than a server takes at once."""

    reason: ClassVar[str] = "BatchTooLong"

    def __init__(self, rows: int, most: int) -> None:
        super().__init__(
            f"{rows:,} rows; this server takes {most:,} in one request: send fewer at a time, or raise "
            "TENANTRY_MAX_BATCH_ROWS"
        )


class AnswerTooLarge(TenantryError):
    """What a model answers to the rows of one request takes more memory than an answer may."""

    reason: ClassVar[str] = "AnswerTooLarge"

    def __init__(self, rows: int, size_bytes: int, most: int) -> None:
        super().__init__(
            f"the answer to {rows:,} rows takes {size_bytes:,} bytes in memory, and this server gives "
            f"{most:,}: send fewer rows at a time, publish a model with fewer outputs, or raise "
            "TENANTRY_MAX_ANSWER_BYTES"
        )


class UnknownMediaType(TenantryError):
    """The body has a type that this server does not read."""

    reason: ClassVar[str] = "UnknownMediaType"


class FeatureMismatch(InvalidRequest):
    """The rows are not what the model was fitted with."""

    reason: ClassVar[str] = "FeatureMismatch"


class TimelineMismatch(InvalidRequest):
    """The times of a forecast's request do not follow the model's own."""

    reason: ClassVar[str] = "TimelineMismatch"


class NotAForecaster(InvalidRequest):
    """A forecast is asked of a model that predicts rows."""

    reason: ClassVar[str] = "NotAForecaster"

    def __init__(self) -> None:
        super().__init__("this user's model predicts rows and has no horizon; ask POST /predict/{user_id}")


class OnlyForecasts(InvalidRequest):
    """Predictions for rows are asked of a model that forecasts."""

    reason: ClassVar[str] = "OnlyForecasts"

    def __init__(self) -> None:
        super().__init__(
            "this user's model forecasts a series and takes no rows; ask POST /forecast/{user_id}"
        )


class PredictionFailed(TenantryError):
    """The model raised while it predicted on rows that passed every check.

    Attributes:
        traceback: where in its code, as a worker said; for logs alone. Empty: as this exception says.
    """

    reason: ClassVar[str] = "PredictionFailed"
    traceback: str = ""


class BodyTimeout(TenantryError):
    """The body of a request did not arrive in time."""

    reason: ClassVar[str] = "BodyTimeout"

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"the body did not arrive within {timeout_s:g} s; send it faster, or raise "
            "TENANTRY_READ_TIMEOUT_S"
        )


class BodiesTooMany(TenantryError):
    """Bodies that have not arrived whole hold more than they may; this was the oldest of them."""

    reason: ClassVar[str] = "BodiesTooMany"
    retryable: ClassVar[bool] = True
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("too many large bodies arrive at once; send this one again, and faster")


class ServersLost(TenantryError):
    """Servers ended, or hung with a model, one after another while they worked on this request."""

    reason: ClassVar[str] = "ServersLost"

    def __init__(self, server_ids: Sequence[str]) -> None:
        super().__init__(
            f"{' and '.join(server_ids)} were lost while they worked on this request; it may have ended "
            "them, so no other server tries it. `tenantry get USER` shows the model"
        )


class PredictionTimeout(TenantryError):
    """The budget of this request is spent; a load that was under way goes on."""

    reason: ClassVar[str] = "PredictionTimeout"
    retryable: ClassVar[bool] = True

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} s; retry, or raise TENANTRY_PREDICT_TIMEOUT_S")


class ModelMoving(TenantryError):
    """The processes that the model lived in ended one after another, before it was this request's turn."""

    reason: ClassVar[str] = "ModelMoving"
    retryable: ClassVar[bool] = True

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"the model of user {user_id!r} lost its process several times, as other models ended it or "
            "held it up; retry shortly"
        )
        self.user_id = user_id


class ModelLoading(TenantryError):
    """The budget of this request was spent before the model had loaded; a load that has begun goes on."""

    reason: ClassVar[str] = "ModelLoading"
    retryable: ClassVar[bool] = True

    def __init__(self, user_id: str, timeout_s: float) -> None:
        super().__init__(
            f"the model of user {user_id!r} has not loaded within {timeout_s:g} s; a load that has begun "
            "goes on, so retry shortly"
        )
        self.user_id = user_id
