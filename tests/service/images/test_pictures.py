"""A picture is found among many."""

import threading

import numpy as np
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from augrank.images.look import MAX_DISTANCE, Look
from service.database.looks import LookIndex
from service.database.session import Database
from service.database.tables import Picture, StoredImage
from service.images.pictures import Near, SeenImage, add_images, find_near
from tests.service.support.images import add_seen

COUNT, ASKED = 20_000, 60


def random_looks(count: int, seed: int = 0) -> list[Look]:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, count).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    thumbnails = rng.integers(6, 250, (count, 16, 16, 3)).astype(np.uint8)
    return [Look(each, thumbnail) for each, thumbnail in zip(hashes, thumbnails, strict=True)]


def copy_of(look: Look, rng: np.random.Generator, apart: int = MAX_DISTANCE) -> Look:
    """Return what another encoding of the same picture may look like."""
    flipped = rng.choice(64, apart, replace=False)
    mask = np.bitwise_or.reduce(np.uint64(1) << flipped.astype(np.uint64))
    noise = rng.integers(-1, 2, (16, 16, 3))
    return Look(look.hash ^ mask, (look.thumbnail.astype(int) + noise).astype(np.uint8))


def seen(name: str, look: Look) -> SeenImage:
    return SeenImage(name, look, 640, 480, "JPEG")


def added(database: Database, images: list[SeenImage]) -> dict[str, int]:
    """Add images as requests do; return their pictures by sha256."""
    return {digest: row.picture_id for digest, row in add_seen(database, images).items()}


def test_a_copy_is_found_among_twenty_thousand_pictures(database: Database):
    looks, rng = random_looks(COUNT), np.random.default_rng(1)
    with database.writes() as session:
        session.execute(
            insert(Picture),
            [
                {"id": n + 1, "look_hash": f"{int(look.hash):016x}",
                 "thumbnail": look.thumbnail.tobytes()}
                for n, look in enumerate(looks)
            ],
        )  # fmt: skip
    numbers = rng.integers(0, COUNT, ASKED).tolist()
    with database.reads() as session:
        copies = [copy_of(looks[number], rng) for number in numbers]
        found = find_near(session, database.looks, [*copies, *random_looks(5, seed=2)])
    assert [near.picture for near in found] == [*(number + 1 for number in numbers), *[None] * 5]
    assert {near.up_to for near in found} == {COUNT}


def test_files_of_one_picture_share_it_within_a_request_and_between_requests(database: Database):
    first, second, third = random_looks(3)
    rng = np.random.default_rng(1)
    pictures = added(
        database, [seen("a", first), seen("b", second), seen("c", copy_of(first, rng))]
    )
    assert pictures["a"] == pictures["c"] != pictures["b"]
    later = added(database, [seen("d", copy_of(second, rng)), seen("a", first), seen("e", third)])
    assert later["d"] == pictures["b"]
    assert later["a"] == pictures["a"]
    with database.reads() as session:
        assert session.scalar(select(func.count()).select_from(Picture)) == 3
        assert session.scalar(select(func.count()).select_from(StoredImage)) == 5


def test_what_others_add_between_the_look_and_the_lock_is_found(database: Database):
    (look,) = random_looks(1)
    other = Database(database.url)  # as another process has it
    with database.reads() as session:
        near = find_near(session, database.looks, [look])
    first = added(other, [seen("a", look)])
    with database.writes() as session:
        rows = add_images(session, database.looks, [seen("b", look)], near).rows
    assert rows["b"].picture_id == first["a"]
    other.close()


def test_what_others_add_after_a_session_began_to_read_is_not_taken_for_removed(
    database: Database,
):
    look, another = random_looks(2)

    class Interrupted(LookIndex):
        def refresh(self, session: Session) -> int:
            last = super().refresh(session)
            if last == 0:
                others = Database(database.url)
                added(others, [seen("a", look), seen("b", another)])
                others.close()
                with database.reads() as later:
                    super().refresh(later)  # as another request does
            return last

    looks = Interrupted()
    with database.reads() as session:
        assert find_near(session, looks, [look]) == [Near(None, 0)]
    with database.reads() as session:
        found = find_near(session, looks, [look])
    assert found[0].picture is not None


def test_pictures_that_were_not_committed_are_not_found(database: Database):
    one, other = random_looks(2)
    with database.reads() as session:
        near = find_near(session, database.looks, [one])
    with database.writes() as session:
        add_images(session, database.looks, [seen("a", one)], near)
        session.rollback()
    assert list(added(database, [seen("b", other)])) == ["b"]
    with database.reads() as session:
        found = find_near(session, database.looks, [one, other])
    assert found[0].picture is None
    assert found[1].picture is not None


def test_a_picture_that_many_requests_show_at_once_is_added_once(database: Database):
    looks, rng = random_looks(8), np.random.default_rng(1)
    errors: list[BaseException] = []

    def send(name: str, images: list[Look]) -> None:
        try:
            added(database, [seen(f"{name}{n}", each) for n, each in enumerate(images)])
        except BaseException as error:  # noqa: BLE001 - told by the assertion
            errors.append(error)

    threads = [
        threading.Thread(target=send, args=(name, [copy_of(each, rng, 4) for each in looks]))
        for name in "abcdef"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.reads() as session:
        assert session.scalar(select(func.count()).select_from(Picture)) == len(looks)
        assert session.scalar(select(func.count()).select_from(StoredImage)) == 6 * len(looks)
