"""What each tenant has cost."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; servers and operators of the release before neither read nor write it."""
    op.create_table(
        "costs",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("user_id", sa.String(253), nullable=False),
        sa.Column("server_id", sa.String(253), nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("errors", sa.BigInteger, nullable=False),
        sa.Column("cpu_s", sa.Double, nullable=False),
        sa.Column("byte_hours", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("day", "user_id", "server_id", name="pk_costs"),
    )
