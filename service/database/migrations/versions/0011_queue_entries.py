"""Entries of the inspector's queue, by what people have done."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

FILL = """
INSERT INTO queue_entries
  (advertiser, answer_id, label, picture_id, model, value, probability, set_size, state, lane)
SELECT
  sightings.advertiser, told.answer_id, told.label, told.picture_id, answers.model, told.value,
  told.probability, told.set_size, 'open', ''
FROM answer_labels AS told
JOIN answers ON answers.id = told.answer_id
JOIN sightings ON sightings.sha256 = told.sha256
"""
SAME = """
  other.picture_id = queue_entries.picture_id AND other.label = queue_entries.label
  AND other.advertiser = queue_entries.advertiser
"""
SETTLE = f"""
UPDATE queue_entries SET
  state = CASE
    WHEN EXISTS (SELECT 1 FROM current_fixes AS other WHERE {SAME}) THEN 'corrected'
    WHEN EXISTS (
      SELECT 1 FROM reviews AS other
      WHERE {SAME} AND other.value = queue_entries.value AND other.undone_at IS NULL
    ) THEN 'confirmed'
    ELSE 'open'
  END,
  lane = CASE
    WHEN NOT EXISTS (
      SELECT 1 FROM queue_entries AS other
      WHERE {SAME} AND other.answer_id > queue_entries.answer_id
    ) THEN ''
    WHEN NOT EXISTS (
      SELECT 1 FROM queue_entries AS other
      WHERE {SAME} AND other.answer_id > queue_entries.answer_id
      AND other.model = queue_entries.model
    ) THEN queue_entries.model
    ELSE '-'
  END
"""


def upgrade() -> None:
    """Create the table, and fill it from answers, fixes and confirmations."""
    op.create_table(
        "queue_entries",
        sa.Column("advertiser", sa.String(200), primary_key=True),
        sa.Column(
            "answer_id",
            sa.Integer(),
            sa.ForeignKey("answers.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("label", sa.String(200), primary_key=True),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.Column("probability", sa.Float(53), nullable=False),
        sa.Column("set_size", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("lane", sa.String(200), nullable=False),
    )
    op.execute(FILL)
    op.create_index(
        "ix_queue_of_picture",
        "queue_entries",
        ["picture_id", "label", "advertiser", "answer_id", "model"],
    )
    op.execute(SETTLE)
    op.create_index("ix_queue_entries_answer_id", "queue_entries", ["answer_id"])
    order = ["label", "lane", "state", "probability", "picture_id"]
    op.create_index("ix_queue_of_advertiser", "queue_entries", ["advertiser", *order])
    op.create_index("ix_queue_of_all", "queue_entries", [*order, "advertiser"])
    op.drop_index("ix_answer_labels_order", "answer_labels")


def downgrade() -> None:
    """Drop the table: it follows from the others."""
    op.create_index(
        "ix_answer_labels_order",
        "answer_labels",
        ["label", "probability", "picture_id", "answer_id"],
    )
    op.drop_table("queue_entries")
