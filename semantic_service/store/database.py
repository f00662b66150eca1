"""Opening the database behind the store: SQLite or PostgreSQL, its tables brought up to date."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from semantic_service.store.address import check_address
from semantic_service.store.errors import StoreError
from semantic_service.store.schema import HEAD

LOCK_WAIT_S = 10.0  # for another process that writes to the same SQLite file
CONNECT_S = 5  # for PostgreSQL to answer
SILENCE_MS = 10_000  # after which a PostgreSQL that no longer acknowledges what is sent counts as gone

# One fsync a commit (FULL): the writer commits whole batches, and nobody waits for it. What is deleted is overwritten.
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON")
_MIGRATION_LOCK = 4_031_766_507  # PostgreSQL's advisory locks have numbers for names


def parse_url(url: str) -> URL:
    """Read a database's address.

    Raises:
        StoreError: neither a SQLite file nor a PostgreSQL database.

    """
    check_address(url)
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise StoreError("not the address of a database: use sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME") from error
    return address if address.drivername == "sqlite" else address.set(drivername="postgresql+psycopg")


def open_database(address: URL) -> Engine:
    """Connect, and bring the tables up to date; several processes may do so at once.

    Raises:
        SQLAlchemyError, OSError: the database can't be reached or used.
        StoreError: a newer version of the service has made it.

    """
    if address.drivername == "sqlite":
        return _open_sqlite(address)
    arguments = {"connect_timeout": CONNECT_S, "tcp_user_timeout": SILENCE_MS}
    engine = create_engine(address, hide_parameters=True, pool_pre_ping=True, connect_args=arguments)
    return _migrated(engine)


def _open_sqlite(address: URL) -> Engine:
    assert address.database is not None  # parse_url has seen to it
    path = Path(address.database)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds what users wrote
    engine = create_engine(address, hide_parameters=True, connect_args={"timeout": LOCK_WAIT_S})
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    with _locked(path.with_name(path.name + ".lock")):  # switching to WAL can't be made to wait in SQLite itself
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        return _migrated(engine)


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # the driver would begin no transaction before a table is made: see _begin
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # a closed file, or a dead process, lets go of it
        yield
    finally:
        os.close(descriptor)


def _migrated(engine: Engine) -> Engine:
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            if _revision(connection) != HEAD:
                _upgrade(connection)
    except (SQLAlchemyError, StoreError):
        engine.dispose()
        raise
    return engine


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - as slow to import as SQLAlchemy itself, and needed once in a database's life
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"made by another version of the service, which this one doesn't know: {error}") from error
