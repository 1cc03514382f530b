"""Retraining."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "datasets",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("datasets.id")),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("last_fix_id", sa.Integer(), nullable=False),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "review_items",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("job_id", sa.Integer(), sa.ForeignKey("jobs.id"), nullable=False),
        sa.Column("fix_id", sa.Integer(), sa.ForeignKey("fixes.id"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("advertiser", sa.String(200), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("proposal", sa.String(20), nullable=False),
        sa.Column("told", sa.JSON(), nullable=False),
        sa.Column("decision", sa.String(20)),
        sa.Column("relabelled", sa.String(200)),
        sa.Column("crop", sa.JSON()),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.Column("taken", sa.Boolean(), nullable=False),
        sa.UniqueConstraint("job_id", "fix_id"),
    )
    op.create_index("ix_review_items_job_id", "review_items", ["job_id"])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("review_items")
    op.drop_table("datasets")
