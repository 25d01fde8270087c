"""From a user id to a model id: the interface, and its plain SQL form."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tenantry.errors import ModelNotAssigned, ModelNotReady

if TYPE_CHECKING:  # a sidecar knows no SQL, and goes without its libraries
    from sqlalchemy import Engine


class ModelInfoRepository(ABC):
    """Knows which model answers for a user; subclass it to read that from your own source.

    Example:
        >>> class Fixed(ModelInfoRepository):
        ...     def __init__(self, models):
        ...         self.models = models
        ...
        ...     def get_model_id_by_user_id(self, user_id):
        ...         if user_id not in self.models:
        ...             raise ModelNotAssigned(user_id)
        ...         return self.models[user_id]
        >>> Fixed({"ann": "file:///models/ann.joblib"}).get_model_id_by_user_id("ann")
        'file:///models/ann.joblib'
    """

    @abstractmethod
    def get_model_id_by_user_id(self, user_id: str) -> str:
        """Return the model that answers for this user now.

        Raises:
            ModelNotAssigned: no TenantModel names this user.
            ModelNotReady: one does, and no version of it has loaded yet.
            RegistryUnavailable: the source did not answer.
        """

    def peek(self, user_id: str) -> str | None:  # noqa: ARG002 - an answer for those who know none
        """Return the same where it is known without I/O; None: the server calls the method above.

        Called on the server's event loop for every request, so it must not block.
        """
        return None

    def peek_many(self, user_ids: Sequence[str]) -> Sequence[str | None] | None:  # noqa: ARG002 - as above
        """Return model ids that are known without I/O; None in the place of a user: call `peek`.

        One judgement of what may be trusted holds for all of them. A source that has no quicker way
        than `peek` returns None.
        """
        return None

    def assigned(self) -> Mapping[str, str | None]:
        """Return every user with the model that answers; None where no version has loaded yet.

        Called in a thread, for the index of a protocol. One that can't list users returns none.
        """
        return {}


class SQLAlchemyModelInfoRepository(ModelInfoRepository):
    """Asks the registry's `assignments` table at every call.

    Args:
        engine: an open registry (`tenantry.registry.open_engine`), SQLite or PostgreSQL.

    Example:
        >>> from tenantry.registry import Assignment, OperatorRegistry, Writes, migrate, open_engine
        >>> engine = open_engine(f"sqlite:///{getfixture('tmp_path')}/registry.db")
        >>> migrate(engine)
        >>> operator = OperatorRegistry(engine, "example")
        >>> epoch = operator.lead("an example")
        >>> ann = Assignment("ann", "uid-1", generation=1, model_id="file:///models/ann.joblib")
        >>> operator.commit(Writes(assignments=[ann]))
        {'ann': 1}
        >>> SQLAlchemyModelInfoRepository(engine).get_model_id_by_user_id("ann")
        'file:///models/ann.joblib'
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def get_model_id_by_user_id(self, user_id: str) -> str:
        """Do one SELECT by primary key."""
        if "\0" in user_id:
            raise ModelNotAssigned(user_id)  # PostgreSQL has no such text, so it holds no such user
        from tenantry_server.assignments import model_rows  # noqa: PLC0415 - SQL, which a sidecar goes without

        row = model_rows.of(self._engine, user_id)
        if row is None or row.deleted:
            raise ModelNotAssigned(user_id)
        if row.model_id is None:
            raise ModelNotReady(user_id)
        return str(row.model_id)

    def assigned(self) -> Mapping[str, str | None]:
        """Do one SELECT of all rows."""
        from tenantry_server.assignments import model_rows  # noqa: PLC0415 - as above

        return model_rows.every(self._engine)
