"""How often each of the users that a server answered last was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it; unknown where a server of the release before writes."""
    op.add_column("hot", sa.Column("requests", sa.JSON))
