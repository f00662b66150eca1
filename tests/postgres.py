"""A real PostgreSQL of the tests' own, to be stopped and started again."""

import os
import warnings
from contextlib import contextmanager
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies: no XDG_RUNTIME_DIR
    import pgserver
    from pgserver._commands import pg_ctl


class Postgres:
    """A server on a socket below `folder`; nothing listens on a port."""

    def __init__(self, folder: Path) -> None:
        self._server = pgserver.get_server(folder / "data", cleanup_mode="delete")

    @classmethod
    @contextmanager
    def started(cls, folder):
        server = cls(folder)
        try:
            yield server
        finally:
            server._server.cleanup()

    def url(self, name="postgres"):
        return self._server.get_uri(name)

    def database(self, name):
        """Make an empty database and give its address."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def stop(self):
        """Cut every connection, and answer nobody until `start`."""
        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self):
        self._server.ensure_postgres_running()
