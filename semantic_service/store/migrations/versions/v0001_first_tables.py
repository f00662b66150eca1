"""Reviews, feedback and answers."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the first tables."""
    _make_reviews()
    _make_feedback()
    _make_answers()


def _make_reviews() -> None:
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text_id", sa.Text, nullable=False),
        sa.Column("model_version", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("p_compliant", sa.Double, nullable=False),
        sa.Column("p_suspicious", sa.Double, nullable=False),
        sa.Column("p_violation", sa.Double, nullable=False),
        sa.Column("suggestion", sa.Text, nullable=False),
        sa.Column("decided_by", sa.Text, nullable=False),
        sa.Column("hits", sa.JSON, nullable=False),
        sa.Column("scene", sa.Text, nullable=False),
        sa.Column("is_uncertain", sa.Boolean, nullable=False),
        sa.Column("is_audit", sa.Boolean, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("data_id", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.UniqueConstraint("text_id", "model_version", name="reviews_key"),
    )
    op.create_index("reviews_by_time", "reviews", ["created_at", "id"])
    op.create_index("reviews_by_request", "reviews", ["request_id"])


def _make_feedback() -> None:
    op.create_table(
        "feedback",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("text_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("label", sa.Text),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("by", sa.Text),
        sa.Column("text", sa.Text),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_index("feedback_by_time", "feedback", ["created_at"])
    op.create_index("feedback_by_text", "feedback", ["text_id"])


def _make_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("annotation_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("task_id", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("annotator", sa.Text, nullable=False),
        sa.Column("label", sa.Text),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("model_version", sa.Text),
        sa.Column("model_label", sa.Text),
        sa.Column("confidence", sa.Double),
    )
