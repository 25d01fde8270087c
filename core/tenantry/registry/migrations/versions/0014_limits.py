"""What a user may ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `assignments.limits`; nobody has any.

    A default of the database's own: an operator of the release before inserts rows without the column.
    """
    op.add_column("assignments", sa.Column("limits", sa.Text, nullable=False, server_default=sa.text("''")))
