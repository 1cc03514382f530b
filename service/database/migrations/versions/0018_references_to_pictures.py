"""What refers to a picture or an image is found by it, so that what nobody needs can be removed."""

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
    """Add the indexes."""
    for table, column in COLUMNS:
        op.create_index(f"ix_{table}_{column}", table, [column])


def downgrade() -> None:
    """Remove the indexes."""
    for table, column in COLUMNS:
        op.drop_index(f"ix_{table}_{column}", table)
