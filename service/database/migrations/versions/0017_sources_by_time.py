"""Which URLs were not seen for longest, of each advertiser."""

from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_sources_of_advertiser", "sources", ["advertiser", "checked_at"])


def downgrade() -> None:
    """Remove the index."""
    op.drop_index("ix_sources_of_advertiser", "sources")
