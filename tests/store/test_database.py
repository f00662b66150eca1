"""A database is made, brought up to date or refused, by several at once and readable by its owner alone."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from semantic_service.store.errors import StoreError
from semantic_service.store.schema import HEAD, metadata
from semantic_service.store.store import Store
from tests.reviewed import review


def test_the_migrations_build_the_tables_that_the_code_expects(store):
    with store._engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == HEAD


def test_several_may_open_an_empty_database_at_once(url):
    with ThreadPoolExecutor(4) as openers:
        stores = list(openers.map(Store.open, [url] * 4))
    assert sum(store.add([review("好")]) for store in stores) == 1
    for store in stores:
        store.close()


def test_what_was_kept_is_there_when_the_store_is_opened_again(url):
    for opening in (1, 0):
        store = Store.open(url)
        assert store.add([review("好")]) == opening
        store.close()


def test_a_database_of_another_version_is_refused_and_left_alone(store, url):
    with store._engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="made by another version of the service"):
        Store.open(url)
    assert store.add([review("好")]) == 1


def test_a_migration_that_fails_leaves_nothing_behind(url, monkeypatch):
    store = Store.open(url)
    with store._engine.begin() as connection:
        connection.execute(text("DROP TABLE answers"))
        connection.execute(text("DROP TABLE feedback"))
        connection.execute(text("DELETE FROM alembic_version"))  # the next migration finds `reviews`, and fails
        connection.execute(text("ALTER TABLE reviews RENAME TO feedback"))
    with pytest.raises(StoreError):
        Store.open(url)
    with store._engine.connect() as connection, pytest.raises(Exception, match="reviews"):
        connection.execute(text("SELECT * FROM reviews"))
    store.close()


def test_sqlite_keeps_it_from_other_users(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/var/moderation.db")
    store.add([review("好")])
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "var").iterdir()} == {0o600}
    store.close()


def test_a_deleted_text_is_in_none_of_sqlites_files(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/var/moderation.db")
    store.add([review(f"秘密{number}" * 50) for number in range(200)])
    assert any("秘密".encode() in path.read_bytes() for path in (tmp_path / "var").iterdir())
    assert store.delete_before("2027") == 200
    assert not any("秘密".encode() in path.read_bytes() for path in (tmp_path / "var").iterdir())
    store.close()


@pytest.mark.parametrize("url", ["", "moderation.db", "mysql://root@db/moderation", "sqlite://", "sqlite:///:memory:"])
def test_another_address_is_refused_with_what_would_do(url):
    with pytest.raises(StoreError, match="use sqlite:///FILE or postgresql://"):
        Store.open(url)


def test_a_database_that_can_not_be_reached_is_named_without_its_password(tmp_path):
    with pytest.raises(StoreError, match="connection") as raised:
        Store.open(f"postgresql://moderation:hush@/moderation?host={tmp_path}")
    assert "hush" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path):
    (tmp_path / "notes.db").write_text("no database " * 1000)
    with pytest.raises(StoreError, match=r"notes\.db: file is not a database"):
        Store.open(f"sqlite:///{tmp_path}/notes.db")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder: Is a directory"):
        Store.open(f"sqlite:///{tmp_path}/folder")


def test_an_error_never_quotes_a_text(store):
    with store._engine.begin() as connection:
        connection.execute(text("DROP TABLE reviews"))
    with pytest.raises(StoreError) as raised:
        store.add([review("秘密")])
    assert "秘密" not in str(raised.value) + str(raised.value.__cause__)
