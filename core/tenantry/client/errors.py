"""What a client raises, by what its caller can do about it.

ClientError
├── RequestRefused       the request has to change (4xx)
│   └── NotAssigned          no TenantModel names this user (404)
├── ModelFailed          the model raised, ended its process or is too large, or a proxy failed (5xx)
├── Unavailable          not now (429, 503); `retry_after_s` says when to ask again
├── DeadlineExceeded     no answer within the time of the call (504, or none at all)
├── NoServer             no server could be reached; the request was not sent
└── AnswerLost           the connection broke while a server had the request
"""

from tenantry.errors import TenantryError


class ClientError(TenantryError):
    """A call that ended without an answer from the model.

    Attributes:
        reason: the server's own, as docs/http-api.md lists them, or the name of this class.
        status: of HTTP; None where no server answered.
        server: which server answered, or was asked last; empty where none was.
    """

    reason: str  # type: ignore[misc]  # each answer brings its own

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        status: int | None = None,
        server: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason or type(self).__name__
        self.status = status
        self.server = server
        self.retry_after_s = retry_after_s


class RequestRefused(ClientError):
    """The request has to change before it can be answered."""


class NotAssigned(RequestRefused):
    """No TenantModel names this user; or, by `reason`, the model has no card."""


class ModelFailed(ClientError):
    """The model raised, ended its process or is too large; asking again is the caller's decision."""


class Unavailable(ClientError):
    """Not now: the model has not loaded, can't be loaded, or a server is not in touch with the registry."""


class DeadlineExceeded(ClientError):
    """The time of the call is over."""


class NoServer(ClientError):
    """No server that is known accepted a connection."""


class AnswerLost(ClientError):
    """The connection broke while a server had the request.

    The request is not repeated: it may be what ended the server.
    """
