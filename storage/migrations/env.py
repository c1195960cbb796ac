"""How Alembic reaches the database: the URL comes from `storage.migrate.config`; one migration at a time."""

from alembic import context
from sqlalchemy import Connection, text

from storage.schema import migration_engine
from storage.tables import metadata

LOCK = 0x6D696C6C
"""PostgreSQL advisory lock of whoever migrates."""


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        compare_server_default=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


engine = migration_engine(context.config.attributes["url"])
with engine.begin() as connection:
    _migrate(connection)
engine.dispose()
