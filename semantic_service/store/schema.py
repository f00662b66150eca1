"""The tables of the review store; migrations/ builds them, and a test holds the two together."""

from sqlalchemy import JSON, BigInteger, Boolean, Column, Double, Index, Integer, MetaData, Table, Text, UniqueConstraint

HEAD = "0001"  # the newest migration: a database that is there needs nothing done to it

metadata = MetaData()

# ISO 8601 in UTC, compared byte by byte whatever language the database sorts by.
Moment = Text().with_variant(Text(collation="C"), "postgresql")

reviews = Table(
    "reviews",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text_id", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("p_compliant", Double, nullable=False),
    Column("p_suspicious", Double, nullable=False),
    Column("p_violation", Double, nullable=False),
    Column("suggestion", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("hits", JSON, nullable=False),
    Column("scene", Text, nullable=False),
    Column("is_uncertain", Boolean, nullable=False),
    Column("is_audit", Boolean, nullable=False),
    Column("request_id", Text),
    Column("data_id", Text),
    Column("created_at", Moment, nullable=False),
    UniqueConstraint("text_id", "model_version", name="reviews_key"),
    Index("reviews_by_time", "created_at", "id"),
    Index("reviews_by_request", "request_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("digest", Text, primary_key=True),  # of all that was said: the same row twice is one
    Column("text_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("label", Text),
    Column("note", Text, nullable=False),
    Column("request_id", Text),
    Column("by", Text),
    Column("text", Text),
    Column("created_at", Moment, nullable=False),
    Index("feedback_by_time", "created_at"),
    Index("feedback_by_text", "text_id"),
)

answers = Table(
    "answers",
    metadata,
    Column("annotation_id", BigInteger, primary_key=True, autoincrement=False),
    Column("task_id", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    Column("annotator", Text, nullable=False),
    Column("label", Text),
    Column("purpose", Text, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("seconds", Double),
    Column("model_version", Text),
    Column("model_label", Text),
    Column("confidence", Double),
)
