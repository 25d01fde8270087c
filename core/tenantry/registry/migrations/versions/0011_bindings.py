"""Users stay with the namespace that declared them first."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables, and bind every user to the namespace whose model it has.

    Processes of the release before neither read nor write them.
    """
    op.create_table(
        "bindings",
        sa.Column("user_id", sa.String(253), nullable=False),
        sa.Column("namespace", sa.String(63), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_bindings"),
    )
    op.create_table(
        "releases",
        sa.Column("user_id", sa.String(253), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name="pk_releases"),
    )
    op.execute(
        "INSERT INTO bindings (user_id, namespace) "
        "SELECT assignments.user_id, claims.namespace FROM assignments "
        "JOIN claims ON claims.uid = assignments.uid WHERE NOT assignments.deleted"
    )
