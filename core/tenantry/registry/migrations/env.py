"""Alembic's entry: runs the migrations on the connection that `engine.migrate` hands over."""

from alembic import context

from tenantry.registry.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction is the one that counts
)
context.run_migrations()
