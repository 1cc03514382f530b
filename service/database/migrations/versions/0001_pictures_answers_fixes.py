"""Pictures and images, answers of models, fixes of people."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "pictures",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("look_hash", sa.String(16), nullable=False),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "picture_bands",
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), primary_key=True),
        sa.Column("band", sa.SmallInteger(), primary_key=True),
        sa.Column("bits", sa.Integer(), nullable=False),
    )
    op.create_index("ix_picture_bands_bits", "picture_bands", ["band", "bits"])
    op.create_table(
        "images",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("ix_images_picture_id", "images", ["picture_id"])
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), nullable=False),
        sa.Column("model", sa.String(200), nullable=False),
        sa.Column("options", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("picture_id", "model", "options"),
    )
    op.create_index("ix_answers_used_at", "answers", ["used_at"])
    _create_fixes()


def _create_fixes() -> None:
    op.create_table(
        "fixes",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("advertiser", sa.String(200), nullable=False),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("label", sa.String(200), nullable=False),
        sa.Column("before", sa.String(200)),
        sa.Column("after", sa.String(200)),
        sa.Column("who", sa.String(200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undoes", sa.Integer(), sa.ForeignKey("fixes.id")),
    )
    op.create_index("ix_fixes_of_picture", "fixes", ["advertiser", "picture_id", "label", "id"])
    op.create_table(
        "current_fixes",
        sa.Column("advertiser", sa.String(200), primary_key=True),
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), primary_key=True),
        sa.Column("label", sa.String(200), primary_key=True),
        sa.Column("fix_id", sa.Integer(), sa.ForeignKey("fixes.id"), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("current_fixes", "fixes", "answers", "images", "picture_bands", "pictures"):
        op.drop_table(name)
