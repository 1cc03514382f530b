"""Pictures that nothing refers to are forgotten after a time; all others stay."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, func, insert, select, update

from augrank.images.decode import decode
from augrank.images.look import LOOK_PX, Look
from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import BundleBackend, ClassifyOptions
from service.database.session import Database
from service.database.tables import (
    Assignment,
    Exposure,
    Fix,
    Model,
    PastExposure,
    Picture,
    Promotion,
    Question,
    Review,
    Sighting,
    Source,
    StoredAnswer,
    StoredImage,
)
from service.fixes import history
from service.images.forget import ForgottenPictures
from service.models.exposures import Exposures
from service.models.watch import report_of
from tests.service.support.images import take_in
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


def like(database: Database, look: Look) -> list[int]:
    with database.reads() as session:
        return database.looks.near(look.hash, 0, database.looks.refresh(session))


def test_pictures_without_answers_go_with_their_files_and_sightings(database, service, forgotten):
    ask(service, 1, 2, 3)
    grow_old(database)
    with database.writes() as session:
        row = {"model": "m", "advertiser": "ada", "at": LONG_AGO, "day": "", "is_new": True}
        session.execute(insert(Exposure), [{**row, "picture_id": picture_of(database, 1)}])
    look = Look.of(decode(photo(1), LOOK_PX).pixels)
    assert like(database, look) == [picture_of(database, 1)]
    assert forgotten.step() == 2  # the last one stays: ids have to grow
    assert database.looks.near(look.hash, 0, 2) == []
    assert counts(database) == {"pictures": 1, "images": 1, "sightings": 1, "exposures": 0}
    assert forgotten.step() == 0
    assert ask(service, 1) == [sha256(photo(1))]
    assert picture_of(database, 1) > picture_of(database, 3)
    assert like(database, look) == [picture_of(database, 1)]
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


@pytest.mark.parametrize("what", ["fix", "review", "source", "exposure", "question", "assignment"])
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
                "question": lambda: Question(
                    token="t", digest="d", advertiser="ada", sha256=digest, options={}, who="eve",
                    at=LONG_AGO,
                ),
                "assignment": lambda: Assignment(
                    key="k", advertiser="ada", sha256=digest, model="m", target="t",
                    direction="maximize", context={}, policy="best", floor=0.0, version=1, seed=1,
                    candidates=[], recommended="original", choice="original", propensity=1.0,
                    unit=None, scope="s", who="eve", at=LONG_AGO,
                ),
            }[what]()
        )  # fmt: skip
    assert forgotten.step() == 1  # the first one
    assert picture_of(database, 2) == of_picture["picture_id"]


def test_what_was_answered_about_a_forgotten_picture_still_counts(database, service, forgotten):
    ask(service, 1, 2, 3)
    ask(service, 4)
    with database.writes() as session:
        made = {"task": "classify", "name": "m", "path": "", "created_at": LONG_AGO, "metrics": {}}
        before = Model(**made, digest="b", state="retired")
        live = Model(**made, digest="a", state="live")
        session.add_all([before, live])
        session.flush()
        session.add(
            Promotion(
                task="classify", before_id=before.id, after_id=live.id, kind="promote", who="eve",
                why="", at=LONG_AGO + timedelta(days=1),
            )
        )  # fmt: skip
        row = {"advertiser": "ada", "at": LONG_AGO, "day": f"{LONG_AGO:%Y-%m-%d}"}
        session.execute(
            insert(Exposure),
            [
                {**row, "model": model, "picture_id": picture_of(database, number), "is_new": new}
                for number, model, new in ((1, "a", True), (1, "b", False), (2, "a", True))
            ],
        )
        said = {"advertiser": "ada", "sha256": sha256(photo(2)), "label": "colour", "who": "eve"}
        fixed = {"picture_id": picture_of(database, 2), "after": "red", "at": LONG_AGO}
        session.add(Fix(**said, **fixed))

    def total() -> tuple[int, int]:
        with database.reads() as session:
            found = report_of(session, "classify")
        assert found is not None
        tally = found.total("a")
        return tally.answered, tally.fixed

    assert total() == (2, 1)
    grow_old(database)
    assert forgotten.step() == 2  # the first and the third one
    assert total() == (2, 1)
    Exposures(database).trim()
    assert total() == (2, 1)
    with database.writes() as session:
        session.execute(update(Model).values(digest=Model.digest + "x"))
    Exposures(database).trim()
    with database.reads() as session:
        assert session.scalar(select(func.count()).select_from(PastExposure)) == 0


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
    image = take_in(other, photo(1))
    assert image.picture_id == picture_of(database, 1) > picture_of(database, 2)
    other.close()


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)  # SQLite has one writer
def test_who_corrects_a_picture_that_goes_meanwhile_is_told(
    database, caller, forgotten, monkeypatch
):
    caller.classify(photo(1), photo(2))
    grow_old(database)

    def lock(session, picture):
        monkeypatch.undo()
        assert forgotten.step() == 1
        history.one_at_a_time(session, picture)

    monkeypatch.setattr(history, "one_at_a_time", lock)
    told = caller.fix(photo(1), "colour", "red")
    assert told.status_code == 409
    assert "removed a moment ago" in told.json()["error"]["message"]
    assert "again" in told.json()["error"]["remedy"]
    caller.classify(photo(1))
    assert caller.fix(photo(1), "colour", "red").status_code == 201
