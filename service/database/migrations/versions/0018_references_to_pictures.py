"""What refers to a picture is found by it; exposures of pictures that were removed."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
COLUMNS = (
    ("fixes", "picture_id"),
    ("current_fixes", "picture_id"),
    ("reviews", "picture_id"),
    ("exposures", "picture_id"),
    ("questions", "sha256"),
    ("assignments", "sha256"),
)


def upgrade() -> None:
    """Add the indexes and the table."""
    for table, column in COLUMNS:
        op.create_index(f"ix_{table}_{column}", table, [column])
    op.create_table(
        "past_exposures",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("advertiser", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
    )
    op.create_index("ix_past_exposures_of_model", "past_exposures", ["model", "at"])


def downgrade() -> None:
    """Remove the indexes and the table."""
    op.drop_table("past_exposures")
    for table, column in COLUMNS:
        op.drop_index(f"ix_{table}_{column}", table)
