"""Many ask and correct at once: one picture for each shot, and no fix is overruled silently."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text

from augrank.tasks.classify.response import ImageAnswer
from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import ClassifyOptions
from service.database.session import Database
from service.database.tables import Base, Fix, Picture, StoredAnswer, StoredImage
from service.errors import Conflict
from service.fixes import history as fixes
from service.fixes.history import Correction
from tests.service.support.fixed_model import FixedModel
from tests.service.support.pages import photo, sha256

SHOTS, PEOPLE = 4, 8


def count(database: Database, table: type) -> int:
    with database.reads() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_new_picture_that_comes_many_times_at_once_is_one(database: Database):
    service = ClassifyService(database, FixedModel(0))
    files = [photo(n, suffix) for n in range(60, 60 + SHOTS) for suffix in (".png", ".jpg")]

    def ask(number: int) -> list[str | None]:
        turned = files[number % len(files) :] + files[: number % len(files)]
        answers = service(ClassifyRequest("ada", tuple(turned), ClassifyOptions(), {}))
        return [answer.labels["colour"].value for answer in answers]

    with ThreadPoolExecutor(PEOPLE) as pool:
        for told in pool.map(ask, range(PEOPLE)):
            assert told == ["blue"] * len(files)
    assert count(database, Picture) == SHOTS
    assert count(database, StoredImage) == 2 * SHOTS
    assert SHOTS <= count(database, StoredAnswer) <= 2 * SHOTS  # of one file or the other


def test_of_many_who_correct_at_once_one_is_first(database: Database):
    service, image = ClassifyService(database, FixedModel(0)), photo(70)
    service(ClassifyRequest("ada", (image,), ClassifyOptions(), {}))

    def correct(number: int) -> str:
        value = ("green", "red")[number % 2]
        correction = Correction("ada", sha256(image), "colour", value, None, f"person {number}")
        try:
            with database.writes() as session:
                fixes.correct(session, correction)
        except Conflict:
            return "refused"
        return value

    with ThreadPoolExecutor(PEOPLE) as pool:
        results = list(pool.map(correct, range(PEOPLE)))
    accepted = {value for value in results if value != "refused"}
    assert len(accepted) == 1  # those who say the same may agree
    assert results.count("refused") == PEOPLE // 2
    assert count(database, Fix) == PEOPLE // 2  # each is another person
    answer = service(ClassifyRequest("ada", (image,), ClassifyOptions(), {}))[0]
    assert answer.labels["colour"].value == accepted.pop()


@pytest.mark.parametrize("refused", [True, False])
def test_a_fix_that_comes_while_the_model_answers_is_in_the_answer(database: Database, refused):
    known, other = photo(71), photo(72)

    class Slow(FixedModel):
        def classify(self, images, options):
            if other in images:
                with database.writes() as session:
                    correction = Correction("ada", sha256(known), "colour", "green", None, "bob")
                    fixes.correct(session, correction)
            answer = super().classify(images, options)
            told = [ImageAnswer(error={"code": "no"}) if refused else one for one in answer.images]
            return answer.model_copy(update={"images": tuple(told)})

    ClassifyService(database, FixedModel(0))(
        ClassifyRequest("ada", (known,), ClassifyOptions(), {})
    )
    service = ClassifyService(database, Slow(0))
    fixed, new = service(ClassifyRequest("ada", (known, other), ClassifyOptions(), {}))
    assert (fixed.labels["colour"].value, fixed.labels["colour"].source) == ("green", "fixed")
    assert (new.error is not None) == refused


def test_two_processes_may_start_at_once(database: Database):
    with database.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))

    def start(_: int) -> None:
        opened = Database(database.url)
        opened.migrate()
        opened.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    assert count(database, Fix) == 0
