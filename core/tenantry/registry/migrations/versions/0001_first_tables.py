"""The first tables, and the one row of `leader`."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create every table of the first release."""
    _create_leader()
    _create_claims()
    _create_assignments()
    _create_servers()


def _create_leader() -> None:
    leader = op.create_table(
        "leader",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
    )
    op.bulk_insert(leader, [{"id": 1, "epoch": 0, "revision": 0, "holder": "", "source": ""}])


def _create_claims() -> None:
    op.create_table(
        "claims",
        sa.Column("uid", sa.String(64), primary_key=True),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("user_id", sa.String(253)),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("spec", sa.JSON(none_as_null=True)),
        sa.Column("observed_generation", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.Text),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("conditions", sa.JSON, nullable=False),
    )
    op.create_index("ix_claims_user_id", "claims", ["user_id"])


def _create_assignments() -> None:
    op.create_table(
        "assignments",
        sa.Column("user_id", sa.String(253), primary_key=True),
        sa.Column("uid", sa.String(64), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("model_id", sa.Text),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("candidate_id", sa.Text),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
    )
    op.create_index("ix_assignments_revision", "assignments", ["revision"])


def _create_servers() -> None:
    op.create_table(
        "shard_map",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("server_id", sa.String(253), nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_shard_map_revision", "shard_map", ["revision"])
    op.create_table(
        "servers",
        sa.Column("server_id", sa.String(253), primary_key=True),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("acked_revision", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("capacity_bytes", sa.BigInteger, nullable=False),
        sa.Column("used_bytes", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "loads",
        sa.Column("user_id", sa.String(253), primary_key=True),
        sa.Column("server_id", sa.String(253), primary_key=True),
        sa.Column("model_id", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
    )
