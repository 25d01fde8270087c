"""The statements of `model_info.SQLAlchemyModelInfoRepository`, for processes that speak SQL."""

from typing import Any

from sqlalchemy import Engine, select

from tenantry.registry import schema as t
from tenantry.registry.engine import reading


def of(engine: Engine, user_id: str) -> Any:
    """Return the row of one user; None: there is none."""
    query = select(t.assignments.c.model_id, t.assignments.c.deleted).where(
        t.assignments.c.user_id == user_id
    )
    with reading(engine) as connection:
        return connection.execute(query).one_or_none()


def every(engine: Engine) -> dict[str, str | None]:
    """Return each user with the model that answers."""
    query = select(t.assignments.c.user_id, t.assignments.c.model_id).where(~t.assignments.c.deleted)
    with reading(engine) as connection:
        return {row.user_id: row.model_id for row in connection.execute(query)}
