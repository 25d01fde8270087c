"""What a server loads before it is asked: the tenants that ask for it, and those that were used last."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `assignments.prewarm`, false for the rows that stand, and the table `hot`."""
    # A default of the database's own: an operator of the release before inserts rows without it.
    op.add_column(
        "assignments", sa.Column("prewarm", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "hot",
        sa.Column("server_id", sa.String(253), primary_key=True),
        sa.Column("user_ids", sa.JSON, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
    )
