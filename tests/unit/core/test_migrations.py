"""What is known of the registry without a database."""

from alembic.script import ScriptDirectory

from tenantry.registry.engine import _alembic_config, known_migrations


def test_the_migrations_that_are_known_are_those_that_alembic_finds() -> None:
    found = ScriptDirectory.from_config(_alembic_config()).walk_revisions()
    assert known_migrations() == [each.revision for each in found][::-1]
