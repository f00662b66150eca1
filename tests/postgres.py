"""A real PostgreSQL of the tests' own, to be stopped and started again."""

import warnings
from contextlib import contextmanager
from pathlib import Path

import psycopg


class Postgres:
    """A server on a socket below `folder`; nothing listens on a port."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its dependencies: no XDG_RUNTIME_DIR
            import pgserver  # noqa: PLC0415 - few tests need it
        self._server = pgserver.get_server(folder / "data", cleanup_mode="delete")
        self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # the machine won't lose power before the test is over

    @classmethod
    @contextmanager
    def started(cls, folder):
        server = cls(folder)
        try:
            yield server
        finally:
            server._server.cleanup()

    def empty(self, name):
        """Make an empty schema and give its address: faster than a database of its own."""
        self._run(f'CREATE SCHEMA "{name}"')
        return f"{self._server.get_uri()}&options=-csearch_path%3D{name}"

    def _run(self, *statements):
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def stop(self):
        """Cut every connection, and answer nobody until `start`."""
        from pgserver._commands import pg_ctl  # noqa: PLC0415

        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=self._server.pgdata, user=self._server.system_user)

    def start(self):
        self._server.ensure_postgres_running()
