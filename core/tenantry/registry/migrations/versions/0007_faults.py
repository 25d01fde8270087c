"""Models in force that a server can't load, so that the operator takes Ready back."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table; servers and operators of the release before neither read nor write it."""
    op.create_table(
        "faults",
        sa.Column("user_id", sa.String(253), nullable=False),
        sa.Column("server_id", sa.String(253), nullable=False),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("mark", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "server_id", name="pk_faults"),
    )
