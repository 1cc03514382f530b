"""Confirmations of what is given in place of a class: a default, or nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
NAME = "fk_reviews_answer_id"


def upgrade() -> None:
    """Let a confirmation be about no class, and about one answer."""
    answers = sa.ForeignKey("answers.id", name=NAME, ondelete="SET NULL")
    with op.batch_alter_table("reviews") as table:
        table.alter_column("value", existing_type=sa.String(200), nullable=True)
        table.add_column(sa.Column("answer_id", sa.Integer(), answers))
    op.create_index("ix_reviews_answer_id", "reviews", ["answer_id"])


def downgrade() -> None:
    """Leave the confirmations of classes alone."""
    op.drop_index("ix_reviews_answer_id", "reviews")
    op.execute("DELETE FROM reviews WHERE value IS NULL")
    with op.batch_alter_table("reviews") as table:
        table.drop_constraint(NAME, type_="foreignkey")
        table.drop_column("answer_id")
        table.alter_column("value", existing_type=sa.String(200), nullable=False)
