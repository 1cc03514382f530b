"""Models, their promotions, and what they have answered."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task", sa.String(20), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("parent", sa.String(64)),
        sa.Column("dataset", sa.String(64)),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("gate", sa.JSON()),
        sa.Column("alarm_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("task", "digest"),
    )
    live = sa.text("state = 'live'")
    op.create_index(
        "ix_models_live", "models", ["task"], unique=True, sqlite_where=live, postgresql_where=live
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task", sa.String(20), nullable=False),
        sa.Column("before_id", sa.Integer(), sa.ForeignKey("models.id")),
        sa.Column("after_id", sa.Integer(), sa.ForeignKey("models.id"), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gate", sa.JSON()),
    )
    op.create_index("ix_promotions_task", "promotions", ["task"])
    op.create_table(
        "exposures",
        sa.Column("model", sa.String(64), primary_key=True),
        sa.Column("advertiser", sa.String(200), primary_key=True),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("is_new", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_exposures_of_model", "exposures", ["model", "at"])


def downgrade() -> None:
    """Drop the tables."""
    for name in ("exposures", "promotions", "models"):
        op.drop_table(name)
