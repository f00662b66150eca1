"""How the tables came to be what they are; Alembic runs these, `store.database` runs Alembic."""
