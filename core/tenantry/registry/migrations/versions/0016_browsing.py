"""What people look through: TenantModels in pages, by their names and reasons."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_REASON = {
    "sqlite": "substr(coalesce(json_extract(conditions, '$[0].reason'), ''), 1, 64)",
    "postgresql": "left(coalesce(conditions -> 0 ->> 'reason', ''), 64)",
}


def upgrade() -> None:
    """Add `claims.title` and `claims.reason` with their indexes, filled from the rows that stand there.

    A default of the database's own: an operator of the release before inserts rows without the columns.
    """
    for name, length in (("title", 320), ("reason", 64)):
        op.add_column(
            "claims", sa.Column(name, sa.String(length), nullable=False, server_default=sa.text("''"))
        )
    reason = _REASON[op.get_bind().dialect.name]
    op.execute(f"UPDATE claims SET title = substr(namespace || '/' || name, 1, 320), reason = {reason}")  # noqa: S608
    op.create_index("ix_claims_title", "claims", ["title", "uid", "user_id"])
    op.create_index("ix_claims_reason", "claims", ["reason", "title", "uid", "user_id"])
