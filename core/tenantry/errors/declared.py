"""Errors about what is declared: documents, and users without a model."""

from typing import ClassVar

from tenantry.errors.base import TenantryError


class InvalidManifest(TenantryError):
    """A TenantModel document breaks a rule of its type.

    Args:
        field: dotted path of the value that breaks it, such as ``spec.model.uri``.
        problem: what was seen and what is allowed.
        line: 1-based line in the file, where one is known.
    """

    reason: ClassVar[str] = "InvalidManifest"

    def __init__(self, field: str, problem: str, *, line: int | None = None) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.line = line


class ModelNotAssigned(TenantryError):
    """The registry answered, and holds no model for this user."""

    reason: ClassVar[str] = "ModelNotAssigned"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"no model is assigned to user {user_id!r}; apply a TenantModel with this userId")
        self.user_id = user_id


class VersionNotFound(ModelNotAssigned):
    """The path names a version, and another one answers for this user."""

    reason: ClassVar[str] = "VersionNotFound"

    def __init__(self, user_id: str, asked: str, current: str) -> None:
        TenantryError.__init__(
            self,
            f"user {user_id!r} is answered by version {current!r}, not {asked[:40]!r}; ask for that "
            "version, or leave the version out of the path",
        )
        self.user_id = user_id


class CardNotFound(TenantryError):
    """The user's model has no card."""

    reason: ClassVar[str] = "CardNotFound"

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"the model of user {user_id!r} has no card; publish it with example= (`--example`) to have one"
        )
        self.user_id = user_id


class ModelNotReady(TenantryError):
    """The user has a TenantModel, and no version of it has been loaded successfully yet."""

    reason: ClassVar[str] = "ModelNotReady"
    retryable: ClassVar[bool] = True

    def __init__(self, user_id: str) -> None:
        super().__init__(
            f"the model of user {user_id!r} has not loaded yet; retry shortly, "
            f"or see why with `tenantry get {user_id}`"
        )
        self.user_id = user_id


class ModelStalled(ModelNotReady):
    """No version of the user's model has loaded, and a person must act before one does.

    Args:
        why: reason of the TenantModel's condition.
        message: of that condition.
    """

    reason: ClassVar[str] = "ModelStalled"
    retryable: ClassVar[bool] = False

    def __init__(self, user_id: str, why: str, message: str) -> None:
        self._stalled = f"the model of user {user_id!r} is Stalled, so a retry is in vain: {why}"
        TenantryError.__init__(self, f"{self._stalled}: {message}")
        self.user_id = user_id

    @property
    def for_clients(self) -> str:
        """The reason; `tenantry get` has the whole message, which may say where the artifact lies."""
        return f"{self._stalled}; an admin sees more with `tenantry get`"
