"""What servers answer, as Python values."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenantry.client.errors import (
    ClientError,
    DeadlineExceeded,
    ModelFailed,
    NotAssigned,
    RequestRefused,
    Unavailable,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

_KINDS: Mapping[int, type[ClientError]] = {
    404: NotAssigned,
    429: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP response.

    Attributes:
        headers: by their names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def server(self) -> str:
        """The server that answered; empty where it does not say."""
        return self.headers.get("tenantry-server", "")

    @property
    def retry_after_s(self) -> float | None:
        """In how many seconds to ask again; None: the server does not say (RFC 9110, section 10.2.3)."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() and len(text) <= 9 else None

    def document(self) -> Any:
        """Return the body of an answer that is not an error.

        Raises:
            ClientError: it is not JSON.
        """
        try:
            return json.loads(self.body)
        except ValueError:
            raise self.odd("is not JSON") from None

    def odd(self, what: str) -> ClientError:
        """Return the error of an answer that no Tenantry server gives."""
        message = f"the answer {what}; is this the address of a Tenantry server?"
        return ClientError(message, reason="BadAnswer", status=self.status, server=self.server)

    def error(self) -> ClientError:
        """Return the error that this answer is, in the server's words."""
        reason, message = self._words()
        if self.status < 400:
            return self.odd(f"has the status {self.status}")
        return error_of(self.status, reason, message, server=self.server, retry_after_s=self.retry_after_s)

    def _words(self) -> tuple[str, str]:
        reason = self.headers.get("tenantry-reason", f"HTTP{self.status}")
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return reason, f"{self.status}: {self.body[:200].decode(errors='replace')}"
        if isinstance(error, dict):
            return str(error.get("reason", reason)), str(error.get("message", ""))
        return reason, str(error)


def error_of(
    status: int, reason: str, message: str, *, server: str, retry_after_s: float | None = None
) -> ClientError:
    """Return the error that a status stands for, in the server's words."""
    kind = _KINDS.get(status)
    if kind is None:
        kind = RequestRefused if 400 <= status < 500 else ModelFailed
    return kind(message, reason=reason, status=status, server=server, retry_after_s=retry_after_s)


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions for some rows, in their order; iterable, and indexed as a list.

    Attributes:
        values: one for each row: a number, text or None (NaN); a list of several outputs; or an object, of
            several methods or of classes by name.
        model_id: exactly which model answered: its version and a digest.
        server: which server answered.
        passed_on: whether the server that was asked passed the request on to it.
        registry_age_s: how old the knowledge of the registry was; None: fresh.
    """

    values: list[Any]
    model_id: str
    server: str
    passed_on: bool = False
    registry_age_s: float | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Any:
        return self.values[row]

    def array(self) -> "npt.NDArray[np.float64]":
        """Return the values as float64, of shape (rows,) or (rows, outputs); None is NaN.

        Raises:
            ValueError, TypeError: they are not numbers.
        """
        import numpy as np  # noqa: PLC0415 - who takes lists does without

        return np.array(self.values, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast, step by step.

    Attributes:
        steps: of each step its ``time``, its ``mean`` and its quantiles by their names, such as ``0.9``.
        model_id: exactly which model answered.
        server: which server answered.
    """

    steps: list[dict[str, Any]]
    model_id: str
    server: str

    def frame(self) -> "pd.DataFrame":
        """Return one row for each step, with the columns time, mean and each quantile."""
        import pandas as pd  # noqa: PLC0415 - who takes lists does without

        return pd.DataFrame(self.steps)


def predictions(reply: Reply) -> Predictions:
    """Read the answer of ``POST /predict/{user_id}``.

    Raises:
        ClientError: it is not one.
    """
    document = reply.document()
    values = document.get("predictions") if isinstance(document, dict) else document
    if not isinstance(values, list):
        raise reply.odd("holds no predictions")
    age = reply.headers.get("tenantry-registry-age")
    return Predictions(
        values,
        reply.headers.get("tenantry-model-id", ""),
        reply.server,
        passed_on="tenantry-hop" in reply.headers,
        registry_age_s=None if age is None else float(age),
    )


def forecast(reply: Reply) -> Forecast:
    """Read the answer of ``POST /forecast/{user_id}``.

    Raises:
        ClientError: it is not one.
    """
    document = reply.document()
    steps = document.get("forecast") if isinstance(document, dict) else None
    if not isinstance(steps, list):
        raise reply.odd("holds no forecast")
    return Forecast(steps, reply.headers.get("tenantry-model-id", ""), reply.server)


def described(reply: Reply) -> dict[str, Any]:
    """Read the answer that describes a model.

    Raises:
        ClientError: it is not one.
    """
    document = reply.document()
    if not isinstance(document, dict):
        raise reply.odd("describes nothing")
    return document
