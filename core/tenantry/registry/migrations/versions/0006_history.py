"""Random tokens beside revisions and epochs: what was lost and given out again is told apart."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add them; processes of the release before neither read nor write any of it."""
    op.create_table(
        "history",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("token", sa.String(32), nullable=False),
    )
    # Defaults of the database's own: an operator and servers of the release before go on without them.
    for name in ("token", "mark"):
        op.add_column(
            "leader", sa.Column(name, sa.String(32), nullable=False, server_default=sa.text("''"))
        )
    op.add_column("servers", sa.Column("lease_s", sa.Double))
