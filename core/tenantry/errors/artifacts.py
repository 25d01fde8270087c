"""Errors about the bytes behind a model id, and the model in them."""

from typing import ClassVar, Self

from tenantry.errors.base import TenantryError


class ArtifactError(TenantryError):
    """Something about the bytes behind a model id."""

    reason: ClassVar[str] = "ArtifactError"

    @classmethod
    def of_publishing(cls, message: str) -> Self:
        """Return an error in words for the person who publishes, for whom nothing is retried."""
        error = cls.__new__(cls)
        TenantryError.__init__(error, message)
        return error


class ArtifactNotFound(ArtifactError):
    """The store answered, and holds nothing under this name."""

    reason: ClassVar[str] = "ArtifactNotFound"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, detail: str = "") -> None:
        super().__init__(
            f"no artifact at {uri}{f' ({detail})' if detail else ''}; "
            "publish it there, or correct spec.model.uri"
        )


class ArtifactAccessDenied(ArtifactError):
    """The store refused the credentials of this process."""

    reason: ClassVar[str] = "ArtifactAccessDenied"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, detail: str = "") -> None:
        super().__init__(
            f"access to {uri} was denied{f' ({detail})' if detail else ''}; "
            "grant read access to the credentials that this process runs with"
        )


class ArtifactOutsideRoots(ArtifactError):
    """The file lies where no artifact may come from. Says nothing about whether it exists."""

    reason: ClassVar[str] = "ArtifactOutsideRoots"

    def __init__(self, uri: str, roots: str) -> None:
        super().__init__(
            f"{uri} is not below a folder that artifacts may come from ({roots}); publish it there, or add "
            "its folder to TENANTRY_FILE_ROOTS of the operator"
        )


class ArtifactChanged(ArtifactError):
    """The object was overwritten since its version was pinned."""

    reason: ClassVar[str] = "ArtifactChanged"

    def __init__(self, uri: str, pinned: str) -> None:
        super().__init__(
            f"{uri} no longer holds the version that was pinned ({pinned}); publish new versions "
            "under new names, or set spec.refreshInterval to follow an object that is overwritten"
        )


class ArtifactDigestMismatch(ArtifactError):
    """The bytes that were read do not have the sha256 that was asked for."""

    reason: ClassVar[str] = "ArtifactDigestMismatch"

    def __init__(self, uri: str, expected: str, seen: str) -> None:
        super().__init__(
            f"{uri} has sha256 {seen}, expected {expected}; nothing was deserialised. "
            "Publish the right bytes, or correct the pin"
        )


class ArtifactTruncated(ArtifactError):
    """The body ended before its announced length."""

    reason: ClassVar[str] = "ArtifactTruncated"
    retryable: ClassVar[bool] = True

    def __init__(self, uri: str, seen_bytes: int, expected_bytes: int) -> None:
        super().__init__(
            f"reading {uri} ended after {seen_bytes} of {expected_bytes} bytes; it will be retried"
        )


class ArtifactUnavailable(ArtifactError):
    """The store did not answer, or answered that it cannot at the moment.

    Attributes:
        reached: it answered; where not, another server may reach it.
        tried: it was asked at all, and not left alone because it could not be reached a moment ago.
    """

    reason: ClassVar[str] = "ArtifactUnavailable"
    retryable: ClassVar[bool] = True
    reached = False
    tried = True

    def __init__(self, uri: str, detail: str, *, reached: bool = False, tried: bool = True) -> None:
        super().__init__(f"the store of {uri} did not answer: {detail}; it will be retried")
        self.reached = reached
        self.tried = tried


class FleetUnreachable(ArtifactUnavailable):
    """A sidecar has nothing to answer with itself, and no server of the fleet answers it."""

    reason: ClassVar[str] = "FleetUnreachable"

    def __init__(self, detail: str) -> None:
        TenantryError.__init__(
            self,
            f"no server of the fleet answers this sidecar ({detail}); check TENANTRY_FLEET_URL, and that "
            "this pod may reach the servers; it asks them again several times a second",
        )


class ArtifactTooLarge(ArtifactError):
    """The artifact is larger than this process may read."""

    reason: ClassVar[str] = "ArtifactTooLarge"

    def __init__(self, uri: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"{uri} has {size_bytes} bytes, the limit is {limit_bytes}; "
            "raise TENANTRY_MAX_ARTIFACT_BYTES or publish a smaller model"
        )


class ArtifactInvalid(ArtifactError):
    """The bytes are there and whole, and are not a model that this server can read.

    Attributes:
        problem: what is wrong, without the URI.
    """

    reason: ClassVar[str] = "ArtifactInvalid"

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"{uri} is not a usable model: {problem}")
        self.problem = problem


class UnknownFormat(ArtifactInvalid):
    """No loader is registered for the format or the suffix."""

    reason: ClassVar[str] = "UnknownFormat"

    def __init__(self, uri: str, seen: str, known: str) -> None:
        super().__init__(uri, f"no loader for {seen}; this server knows {known}")


class FormatNotInstalled(ArtifactInvalid):
    """The server knows the format, and the library that reads it can't be imported here.

    Args:
        library: what could not be imported, such as ``onnxruntime``.
        extra: of our own distribution, which brings it.
        problem: what the import said.
    """

    reason: ClassVar[str] = "FormatNotInstalled"

    def __init__(self, uri: str, library: str, extra: str, problem: str) -> None:
        super().__init__(
            uri,
            f"here, because it needs {library}, which can't be imported ({problem}); where the servers "
            f"run: pip install 'tenantry[{extra}]'",
        )


class VersionSkew(ArtifactInvalid):
    """Another version of a library wrote the artifact, and this server refuses such artifacts."""

    reason: ClassVar[str] = "VersionSkew"

    def __init__(self, uri: str, skew: str) -> None:
        super().__init__(
            uri,
            f"{skew}, and TENANTRY_VERSION_SKEW is refuse; train it with the version that serves, or serve "
            "it with the version that trained it",
        )


class ModelTimedOut(ArtifactInvalid):
    """Loading the model did not end in time."""

    reason: ClassVar[str] = "ModelTimedOut"

    def __init__(self, uri: str, timeout_s: float, place: str) -> None:
        super().__init__(
            uri,
            f"loading it did not end within {timeout_s:g} s ({place}); publish a quicker one, or raise "
            "TENANTRY_LOAD_TIMEOUT_S of the servers",
        )


class CardUnusable(ArtifactError):
    """The card beside the artifact is not one, or does not fit the model."""

    reason: ClassVar[str] = "CardUnusable"

    def __init__(self, uri: str, problem: str) -> None:
        super().__init__(f"the card {uri} is not usable: {problem}; publish the model again with example=")


class AnswersDiffer(ArtifactError):
    """The model answers the example rows of its card otherwise than where it was trained.

    Args:
        row: the first such example row, counted from 0.
        expected: the card's answer.
        seen: the answer here.
        skew: libraries of other versions than there, in words; empty: none.
    """

    reason: ClassVar[str] = "AnswersDiffer"

    def __init__(self, uri: str, row: int, expected: str, seen: str, skew: str) -> None:
        libraries = f" ({skew})" if skew else ""
        super().__init__(
            f"{uri} answered {expected} to row {row} of its card's examples where it was trained, and "
            f"answers {seen} here{libraries}; train it with the libraries that serve it, and publish again"
        )
