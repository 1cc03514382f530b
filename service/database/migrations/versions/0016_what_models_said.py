"""What the model had said when a person corrected it."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column; of older fixes it is not known."""
    op.add_column("fixes", sa.Column("model_value", sa.String(200)))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("fixes", "model_value")
