"""Whose answers are kept: of those that are kept already nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the column and its index."""
    op.add_column(
        "answers", sa.Column("advertiser", sa.String(200), nullable=False, server_default="")
    )
    op.create_index("ix_answers_of_advertiser", "answers", ["advertiser", "used_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_answers_of_advertiser", "answers")
    op.drop_column("answers", "advertiser")
