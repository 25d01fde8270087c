"""Shards that change hands without a gap, servers that say how they are, and users on several servers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what servers report and what a shard's next holder is; nobody moves and nobody is spread."""
    # Defaults of the database's own: servers and operators of the release before insert rows without them.
    op.add_column(
        "assignments", sa.Column("replicas", sa.Integer, nullable=False, server_default=sa.text("1"))
    )
    op.add_column("shard_map", sa.Column("next_id", sa.String(253)))
    for column in (
        sa.Column("prepared_revision", sa.BigInteger, nullable=False, server_default=sa.text("-1")),
        sa.Column("leaving", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("load", sa.Double, nullable=False, server_default=sa.text("0")),
        sa.Column("busiest", sa.JSON, nullable=False, server_default=sa.text("'{}'")),
    ):
        op.add_column("servers", column)
    op.create_table(
        "spread",
        sa.Column("user_id", sa.String(253), primary_key=True),
        sa.Column("replicas", sa.Integer, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_spread_revision", "spread", ["revision"])
