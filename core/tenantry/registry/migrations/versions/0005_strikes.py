"""Models that ended a worker process: what one server saw, the others need not see for themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; servers of the release before neither read nor write it."""
    op.create_table(
        "strikes",
        sa.Column("id", sa.Integer, autoincrement=True, nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("writer", sa.String(300), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("how", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_strikes"),
    )
    op.create_index("ix_strikes_at", "strikes", ["at"])
