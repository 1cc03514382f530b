"""Labels of kept answers, and the answers that people confirmed."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
CHUNK = 1000  # answers that are read at once


def upgrade() -> None:
    """Create the tables, and fill in the labels of the answers that are there."""
    op.create_table(
        "answer_labels",
        sa.Column(
            "answer_id",
            sa.Integer(),
            sa.ForeignKey("answers.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("label", sa.String(200), primary_key=True),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.Column("probability", sa.Float(53), nullable=False),
        sa.Column("set_size", sa.Integer(), nullable=False),
    )
    op.create_table(
        "reviews",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("advertiser", sa.String(200), nullable=False),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_by", sa.String(200)),
        sa.Column("undone_at", sa.DateTime(timezone=True)),
    )
    _fill_in()
    op.create_index(
        "ix_answer_labels_order",
        "answer_labels",
        ["label", "probability", "picture_id", "answer_id"],
    )
    op.create_index(
        "ix_answer_labels_picture", "answer_labels", ["picture_id", "label", "answer_id"]
    )
    op.create_index(
        "ix_reviews_of_picture",
        "reviews",
        ["advertiser", "picture_id", "label", "value", "undone_at"],
    )
    op.create_index("ix_sightings_sha256", "sightings", ["sha256"])
    op.create_index("ix_sources_sha256", "sources", ["sha256"])


def _fill_in() -> None:
    connection = op.get_bind()
    read = sa.text(
        "SELECT id, picture_id, content,"
        " (SELECT min(sha256) FROM images WHERE images.picture_id = answers.picture_id)"
        " FROM answers WHERE id > :last ORDER BY id LIMIT :most"
    )
    write = sa.text(
        "INSERT INTO answer_labels"
        " (answer_id, label, picture_id, sha256, value, probability, set_size)"
        " VALUES (:answer_id, :label, :picture_id, :sha256, :value, :probability, :set_size)"
    )
    last = 0
    while answers := connection.execute(read, {"last": last, "most": CHUNK}).all():
        last = answers[-1][0]
        rows = [
            {
                "answer_id": answer_id,
                "picture_id": picture_id,
                "sha256": sha256,
                "label": label,
                "value": told["value"],
                "probability": told["probability"],
                "set_size": len(told["set"]),
            }
            for answer_id, picture_id, content, sha256 in answers
            if sha256 is not None
            for label, told in _labels(content).items()
        ]
        if rows:
            connection.execute(write, rows)


def _labels(content: object) -> dict[str, dict[str, Any]]:
    """Return the labels of an answer; SQLite gives its JSON as text, PostgreSQL does not."""
    found = json.loads(content) if isinstance(content, str) else content
    return found.get("labels") or {} if isinstance(found, dict) else {}


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index("ix_sources_sha256", "sources")
    op.drop_index("ix_sightings_sha256", "sightings")
    for name in ("reviews", "answer_labels"):
        op.drop_table(name)
