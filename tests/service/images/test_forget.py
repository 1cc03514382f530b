"""Pictures that nothing refers to are forgotten after a time; all others stay."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, insert, select, update

from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import BundleBackend, ClassifyOptions
from service.database.session import Database
from service.database.tables import (
    Exposure,
    Fix,
    Picture,
    Review,
    Sighting,
    Source,
    StoredAnswer,
    StoredImage,
)
from service.images.arrivals import take_in
from service.images.forget import ForgottenPictures
from tests.service.support.pages import photo, sha256

LONG_AGO = datetime.now(UTC) - timedelta(days=100)
OPTIONS = ClassifyOptions()


@pytest.fixture
def service(database: Database, backend: BundleBackend) -> ClassifyService:
    return ClassifyService(database, backend)


@pytest.fixture
def forgotten(database: Database) -> ForgottenPictures:
    return ForgottenPictures(database, timedelta(days=30))


def ask(service: ClassifyService, *numbers: int) -> list[str | None]:
    images = tuple(photo(number) for number in numbers)
    answers = service(ClassifyRequest("ada", images, OPTIONS, {}))
    assert all(answer.error is None for answer in answers)
    return [answer.sha256 for answer in answers]


def grow_old(database: Database, *, answered: bool = False) -> None:
    """Let all files be from long ago, and their answers have made room for others."""
    with database.writes() as session:
        session.execute(update(StoredImage).values(seen_at=LONG_AGO))
        if not answered:
            session.execute(delete(StoredAnswer))


def counts(database: Database) -> dict[str, int]:
    with database.reads() as session:
        return {
            table.__tablename__: session.scalar(select(func.count()).select_from(table)) or 0
            for table in (Picture, StoredImage, Sighting, Exposure)
        }


def picture_of(database: Database, number: int) -> int:
    with database.reads() as session:
        image = session.get(StoredImage, sha256(photo(number)))
        assert image is not None
        return image.picture_id


def test_pictures_without_answers_go_with_their_files_and_sightings(database, service, forgotten):
    ask(service, 1, 2, 3)
    grow_old(database)
    with database.writes() as session:
        row = {"model": "m", "advertiser": "ada", "at": LONG_AGO, "day": "", "is_new": True}
        session.execute(insert(Exposure), [{**row, "picture_id": picture_of(database, 1)}])
    assert forgotten.step() == 2  # the last one stays: ids have to grow
    assert counts(database) == {"pictures": 1, "images": 1, "sightings": 1, "exposures": 0}
    assert forgotten.step() == 0
    assert ask(service, 1) == [sha256(photo(1))]
    assert picture_of(database, 1) > picture_of(database, 3)
    assert counts(database)["pictures"] == 2


def test_an_answer_or_a_new_file_keeps_a_picture(database, service, forgotten):
    ask(service, 1, 2, 3)
    grow_old(database, answered=True)
    assert forgotten.step() == 0
    with database.writes() as session:
        session.execute(delete(StoredAnswer))
        kept = StoredImage.sha256 == sha256(photo(1))
        session.execute(update(StoredImage).where(kept).values(seen_at=datetime.now(UTC)))
    assert forgotten.step() == 1
    assert picture_of(database, 1)


@pytest.mark.parametrize("what", ["fix", "review", "source", "exposure"])
def test_what_refers_to_a_picture_keeps_it(database, service, forgotten, what):
    ask(service, 1, 2, 3)
    grow_old(database)
    now, digest = datetime.now(UTC), sha256(photo(2))
    of_picture = {"advertiser": "ada", "picture_id": picture_of(database, 2)}
    with database.writes() as session:
        said = {**of_picture, "sha256": digest, "label": "colour", "who": "eve", "at": LONG_AGO}
        session.add(
            {
                "fix": lambda: Fix(**said, after="red"),
                "review": lambda: Review(**said, value="red"),
                "source": lambda: Source(
                    advertiser="ada", url_digest="d", url="u", sha256=digest, etag="",
                    last_modified="", checked_at=LONG_AGO,
                ),
                "exposure": lambda: Exposure(**of_picture, model="m", at=now, day="", is_new=True),
            }[what]()
        )  # fmt: skip
    assert forgotten.step() == 1  # the first one
    assert picture_of(database, 2) == of_picture["picture_id"]


def test_a_walk_looks_at_some_pictures_at_a_time(database, service):
    forgotten = ForgottenPictures(database, timedelta(days=30), looked_at=2)
    ask(service, 1, 2, 3, 4, 5)
    ask(service, 6)
    grow_old(database)
    assert [forgotten.step() for _ in range(3)] == [2, 2, 1]
    assert [forgotten.step() for _ in range(2)] == [0, 0]
    assert counts(database)["pictures"] == 1


def test_a_request_answers_though_its_picture_was_forgotten_meanwhile(
    database, service, forgotten, backend, monkeypatch
):
    ask(service, 1, 2)
    grow_old(database)
    first, classify = picture_of(database, 1), backend.classify

    def slow(images, options):
        monkeypatch.setattr(backend, "classify", classify)
        assert forgotten.step() == 1
        return classify(images, options)

    monkeypatch.setattr(backend, "classify", slow)
    assert ask(service, 1) == [sha256(photo(1))]
    assert picture_of(database, 1) != first
    with database.reads() as session:
        assert session.scalars(select(StoredAnswer.picture_id)).all() == [picture_of(database, 1)]


def test_another_process_finds_no_picture_that_was_removed(database, service, forgotten):
    ask(service, 1, 2)
    other = Database(database.url)
    with other.reads() as session:
        assert other.looks.refresh(session)
    grow_old(database)
    assert forgotten.step() == 1
    image = take_in(other, None, service._limits, photo(1))
    assert image.picture_id == picture_of(database, 1) > picture_of(database, 2)
    other.close()
