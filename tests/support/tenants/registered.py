"""Tenants without an operator: rows in a registry, and the application that answers for them."""

from pathlib import Path
from typing import Any

import joblib
from aiohttp.web import Application
from sqlalchemy import Engine

from tenantry.registry import Assignment, Writes, open_engine
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    bounded_cache,
    make_app,
)
from tenantry_server.access.gate import Gate
from tests.support.databases.migrated import migrate
from tests.support.tenants.operator_side import leading

CACHE_BYTES = 1 << 20


class Tenants:
    """A registry and a folder of artifacts, filled by hand, and applications over them.

    Args:
        folder: for artifacts, and for the registry where no `engine` is given.
        settings: of `make_app`, unless `app` says otherwise.

    Attributes:
        is_ready: what an application says of itself.
    """

    def __init__(self, folder: Path, engine: Engine | None = None, **settings: Any) -> None:
        if engine is None:
            engine = open_engine(f"sqlite:///{folder}/registry.db")
            migrate(engine)
        self.engine = engine
        self._operator = leading(engine)
        self._folder = folder
        self._number = 0
        self._settings = settings
        self.is_ready = True

    def add(self, user_id: str, model: Any, suffix: str = "") -> str:
        """Assign a model, or the bytes that stand in for one; returns its model id."""
        self._number += 1
        path = self._folder / f"{self._number}.joblib"
        if isinstance(model, bytes):
            path.write_bytes(model)
        else:
            joblib.dump(model, path)
        self.assign(user_id, f"{path.as_uri()}{suffix}")
        return f"{path.as_uri()}{suffix}"

    def assign(self, user_id: str, model_id: str | None) -> None:
        """Write the row; None: no version has loaded yet."""
        self._operator.commit(Writes(assignments=[Assignment(user_id, f"uid-{user_id}", 1, model_id)]))

    def app(self, *, peeks: bool = False, **settings: Any) -> Application:
        """A new application.

        Args:
            peeks: it knows a user's model at once, as the routing table of a real server does.
        """
        models = CachedModelRepository(FileSystemModelRepository(), bounded_cache(CACHE_BYTES))
        info = (Peeking if peeks else SQLAlchemyModelInfoRepository)(self.engine)
        given = {"gate": Gate(open_lists=True, open_repository=True), "ready": lambda: self.is_ready}
        return make_app(info, models, **{**given, **self._settings, **settings})


class Peeking(SQLAlchemyModelInfoRepository):
    """Knows at once, as the routing table of a real server does."""

    def peek(self, user_id: str) -> str | None:
        return self.get_model_id_by_user_id(user_id)
