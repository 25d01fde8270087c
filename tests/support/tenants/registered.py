"""Tenants without an operator: rows in a registry, and the application that answers for them."""

from pathlib import Path
from typing import Any

import joblib
from aiohttp.web import Application

from tenantry.registry import Assignment, OperatorRegistry, Writes, migrate, open_engine
from tenantry_server import (
    CachedModelRepository,
    FileSystemModelRepository,
    SQLAlchemyModelInfoRepository,
    bounded_cache,
    make_app,
)
from tenantry_server.access.gate import Gate


class Tenants:
    """A registry and a folder of artifacts, filled by hand, and the application over them.

    Attributes:
        is_ready: what the application says of itself.
    """

    def __init__(self, folder: Path, *, max_body_bytes: int = 8 << 20) -> None:
        self.engine = open_engine(f"sqlite:///{folder}/registry.db")
        migrate(self.engine)
        self._operator = OperatorRegistry(self.engine, "test")
        self._operator.lead("a test")
        self._folder = folder
        self._max_body_bytes = max_body_bytes
        self.is_ready = True

    def add(self, user_id: str, model: Any, suffix: str = "") -> str:
        """Assign a model; returns its model id."""
        path = self._folder / f"{len(list(self._folder.iterdir()))}.joblib"
        joblib.dump(model, path)
        self.assign(user_id, f"{path.as_uri()}{suffix}")
        return f"{path.as_uri()}{suffix}"

    def assign(self, user_id: str, model_id: str | None) -> None:
        """Write the row; None: no version has loaded yet."""
        self._operator.commit(Writes(assignments=[Assignment(user_id, f"uid-{user_id}", 1, model_id)]))

    def app(self) -> Application:
        """A new application."""
        models = CachedModelRepository(FileSystemModelRepository(), bounded_cache(1 << 20))
        info = SQLAlchemyModelInfoRepository(self.engine)
        gate = Gate(open_lists=True, open_repository=True)
        return make_app(
            info, models, max_body_bytes=self._max_body_bytes, ready=lambda: self.is_ready, gate=gate
        )
