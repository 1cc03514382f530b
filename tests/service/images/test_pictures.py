"""A picture is found among many."""

import numpy as np
from sqlalchemy import insert

from augrank.images.look import MAX_DISTANCE, Look
from service.database.session import Database
from service.database.tables import Picture, PictureBand
from service.images.pictures import find_near

COUNT, ASKED = 20_000, 60


def test_a_copy_is_found_among_twenty_thousand_pictures(database: Database):
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, COUNT).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    thumbnails = rng.integers(6, 250, (COUNT, 16, 16, 3)).astype(np.uint8)
    looks = [Look(each, thumbnail) for each, thumbnail in zip(hashes, thumbnails, strict=True)]
    with database.writes() as session:
        session.execute(
            insert(Picture),
            [
                {"id": n + 1, "look_hash": f"{int(look.hash):016x}",
                 "thumbnail": look.thumbnail.tobytes()}
                for n, look in enumerate(looks)
            ],
        )  # fmt: skip
        session.execute(
            insert(PictureBand),
            [
                {"picture_id": n + 1, "band": band, "bits": bits}
                for n, look in enumerate(looks)
                for band, bits in enumerate(look.bands())
            ],
        )
    with database.reads() as session:
        for number in rng.integers(0, COUNT, ASKED).tolist():
            flipped = rng.choice(64, MAX_DISTANCE, replace=False)
            mask = np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64))
            noise = rng.integers(-2, 3, (16, 16, 3))
            copy = Look(
                hashes[number] ^ mask, (thumbnails[number].astype(int) + noise).astype(np.uint8)
            )
            assert find_near(session, copy).picture == number + 1
            assert find_near(session, copy, after=number + 1).picture is None
