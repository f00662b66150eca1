"""What Alembic runs to migrate: on the connection, and in the transaction, that it is handed."""

from alembic import context

from semantic_service.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
