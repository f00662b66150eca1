"""The review store: judged posts for people to look at, what was said of them, and annotators' answers."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Self

from sqlalchemy import Connection, Engine, Select, Table, bindparam, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from semantic_service.contract.answers import Answer
from semantic_service.contract.reviews import Feedback, Review
from semantic_service.store import rows, schema
from semantic_service.store.database import open_database, parse_url
from semantic_service.store.errors import StoreError

PAGE_ROWS = 500

_INSERT = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
_TIMES = (schema.reviews.c.created_at, schema.feedback.c.created_at, schema.answers.c.updated_at)
_COUNTED = {"preserve_rowcount": True}  # PostgreSQL's driver would forget how many rows many inserts have made
_IS_NOW_AUDIT = (
    update(schema.reviews)
    .values(is_audit=True)
    .where(schema.reviews.c.text_id == bindparam("its_text"), schema.reviews.c.model_version == bindparam("its_version"))
    .where(~schema.reviews.c.is_audit)
)


class Store:
    """A database that is open and up to date. Safe to call from many threads; every method raises StoreError when it can't be reached."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Open `sqlite:///FILE` or `postgresql://…`, make its tables or bring them up to date.

        Raises:
            StoreError: another kind of address, or the database can't be reached or used.

        """
        address = parse_url(url)
        with _in_words(address):
            return cls(open_database(address))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def add(self, reviews: Sequence[Review]) -> int:
        """Keep reviews, one for each text id and model version; give how many were new. A known post that is an audit post now becomes one."""
        # In one order: two processes that insert the same posts then wait for each other one way only.
        new = sorted(map(rows.row_of_review, reviews), key=lambda row: (row["text_id"], row["model_version"]))
        audit = [{"its_text": row["text_id"], "its_version": row["model_version"]} for row in new if row["is_audit"]]
        if not new:
            return 0
        with self._begin() as connection:
            added = connection.execute(self._insert(schema.reviews).on_conflict_do_nothing(), new, execution_options=_COUNTED).rowcount
            if audit:
                connection.execute(_IS_NOW_AUDIT, audit)
        return added

    def reviews(self, *, since: str | None = None, model_version: str | None = None) -> Iterator[Review]:
        """Read reviews, the newest first, a page at a time; `since` is ISO 8601 in UTC and included."""
        table = schema.reviews
        order = tuple_(table.c.created_at, table.c.id)
        wanted = select(table).order_by(table.c.created_at.desc(), table.c.id.desc()).limit(PAGE_ROWS)
        wanted = wanted if since is None else wanted.where(table.c.created_at >= since)
        wanted = wanted if model_version is None else wanted.where(table.c.model_version == model_version)
        page = self._read(wanted)
        while page:
            yield from map(rows.review_of_row, page)
            page = self._read(wanted.where(order < (page[-1]["created_at"], page[-1]["id"])))

    def review(self, request_id: str) -> Review | None:
        """Give what was judged for a request, the newest verdict; None if nothing of it is here, or more than one text."""
        table, other = schema.reviews, schema.reviews.alias()
        another = exists().where(other.c.request_id == request_id, other.c.text_id != table.c.text_id)
        wanted = select(table).where(table.c.request_id == request_id, ~another).order_by(table.c.id.desc()).limit(1)
        return next(map(rows.review_of_row, self._read(wanted)), None)

    def add_feedback(self, feedback: Feedback) -> None:
        """Keep what was said of a verdict; the same twice is kept once."""
        with self._begin() as connection:
            connection.execute(self._insert(schema.feedback).on_conflict_do_nothing(), rows.row_of_feedback(feedback))

    def feedback(self, since: str | None = None) -> list[Feedback]:
        """Read feedback, the oldest first; `since` is ISO 8601 in UTC and included."""
        table = schema.feedback
        wanted = select(table).order_by(table.c.created_at, table.c.digest)
        wanted = wanted if since is None else wanted.where(table.c.created_at >= since)
        return list(map(rows.feedback_of_row, self._read(wanted)))

    def save_answers(self, answers: Sequence[Answer]) -> int:
        """Keep each annotation's newest answer; give how many are new or changed."""
        if not answers:
            return 0
        insert = self._insert(schema.answers)
        rest = [column.name for column in schema.answers.c if not column.primary_key]
        changed = or_(*(schema.answers.c[name].is_distinct_from(insert.excluded[name]) for name in rest))
        upsert = insert.on_conflict_do_update(
            index_elements=["annotation_id"], set_={name: insert.excluded[name] for name in rest}, where=changed
        )
        with self._begin() as connection:
            ordered = sorted(map(rows.row_of_answer, answers), key=lambda row: row["annotation_id"])
            return connection.execute(upsert, ordered, execution_options=_COUNTED).rowcount

    def answers(self) -> list[Answer]:
        """Read all answers, by annotation id."""
        return list(map(rows.answer_of_row, self._read(select(schema.answers).order_by(schema.answers.c.annotation_id))))

    def delete_before(self, moment: str) -> int:
        """Delete every row, and so every text, from before a moment (ISO 8601 in UTC); give how many there were."""
        with self._begin() as connection:
            deleted = sum(connection.execute(delete(time.table).where(time < moment)).rowcount for time in _TIMES)
        if self._engine.dialect.name == "sqlite":  # what was deleted stands in the write-ahead log until it is emptied
            with _in_words(self._engine.url), closing(self._engine.raw_connection()) as connection:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return deleted

    def counts(self) -> dict[str, int]:
        """Count what is here: all reviews, the uncertain and the audit ones among them, feedback and answers."""
        table = schema.reviews
        with self._begin() as connection:
            return {
                "reviews": connection.scalar(select(func.count()).select_from(table)) or 0,
                "uncertain": connection.scalar(select(func.count()).where(table.c.is_uncertain)) or 0,
                "audit": connection.scalar(select(func.count()).where(table.c.is_audit)) or 0,
                "feedback": connection.scalar(select(func.count()).select_from(schema.feedback)) or 0,
                "answers": connection.scalar(select(func.count()).select_from(schema.answers)) or 0,
            }

    def _insert(self, table: Table) -> Any:
        return _INSERT[self._engine.dialect.name](table)

    def _read(self, query: Select[Any]) -> list[rows.Row]:
        with self._begin() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with _in_words(self._engine.url), self._engine.begin() as connection:
            yield connection


@contextmanager
def _in_words(address: URL) -> Iterator[None]:
    """Say what went wrong in one line without the statement's values, which are what users wrote."""
    try:
        yield
    except (SQLAlchemyError, OSError, StoreError) as error:
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        raise StoreError(f"{address.render_as_string()}: {str(cause).strip().partition(chr(10))[0]}") from error
