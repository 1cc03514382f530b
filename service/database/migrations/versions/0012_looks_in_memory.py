"""Pictures that look alike are found in memory: no rows for the bands of their hashes."""

from itertools import pairwise

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

BANDS = (0, 7, 14, 21, 28, 35, 42, 49, 56, 64)  # bits of a hash
PICTURES = 1000  # that are read together


def upgrade() -> None:
    """Drop the table."""
    op.drop_index("ix_picture_bands_bits", "picture_bands")
    op.drop_table("picture_bands")


def downgrade() -> None:
    """Make the table again: it follows from the hashes."""
    bands = op.create_table(
        "picture_bands",
        sa.Column("picture_id", sa.Integer(), sa.ForeignKey("pictures.id"), primary_key=True),
        sa.Column("band", sa.SmallInteger(), primary_key=True),
        sa.Column("bits", sa.Integer(), nullable=False),
    )
    connection, last = op.get_bind(), 0
    pictures = sa.table("pictures", sa.column("id"), sa.column("look_hash"))
    query = sa.select(pictures.c.id, pictures.c.look_hash).order_by(pictures.c.id).limit(PICTURES)
    while rows := connection.execute(query.where(pictures.c.id > last)).all():
        op.bulk_insert(
            bands,
            [
                {"picture_id": number, "band": band, "bits": bits}
                for number, text in rows
                for band, bits in enumerate(_bands(int(text, 16)))
            ],
        )
        last = rows[-1].id
    op.create_index("ix_picture_bands_bits", "picture_bands", ["band", "bits"])


def _bands(look_hash: int) -> list[int]:
    return [(look_hash >> low) & ((1 << (high - low)) - 1) for low, high in pairwise(BANDS)]
