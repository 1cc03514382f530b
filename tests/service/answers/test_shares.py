"""An advertiser who asks very much makes room with what is his own."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from service.answers.classify import ClassifyRequest, ClassifyService
from service.answers.questions import history, note_question, trim_questions
from service.app import create_app
from service.backends.classify import ClassifyOptions
from service.database.session import Database
from service.database.tables import Job, Picture, StoredAnswer, StoredImage
from service.images.pictures import senders_of
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.keyed import client_of, keyed_app
from tests.service.support.marketing import Marketer
from tests.service.support.pages import photo, sha256
from tests.service.support.recommender_stub import DrawnRecommender


def test_answers_of_others_stay(database: Database):
    service = ClassifyService(database, FixedModel(0), max_answers=6, trim_every=1)

    def ask(advertiser: str, *numbers: int) -> None:
        for number in numbers:
            service(ClassifyRequest(advertiser, (photo(number),), ClassifyOptions(), {}))

    ask("ada", 20, 21)  # the oldest ones
    ask("bob", *range(22, 32))
    with database.reads() as session:
        rows = session.execute(select(StoredAnswer.advertiser, StoredAnswer.options)).all()
    assert len(rows) <= 6
    kept = [advertiser for advertiser, _ in rows]
    assert kept.count("ada") == 2
    assert kept.count("bob") >= 3
    assert any(sha256(photo(31)) in options for _, options in rows)  # bob's last one


def test_senders_are_known_unless_they_are_several(database: Database):
    service = ClassifyService(database, FixedModel(0))
    for advertiser, number in (("ada", 20), ("bob", 21), ("ada", 22), ("bob", 22)):
        service(ClassifyRequest(advertiser, (photo(number),), ClassifyOptions(), {}))
    asked = [sha256(photo(number)) for number in (20, 21, 22, 23)]
    with database.reads() as session:
        assert senders_of(session, asked) == {asked[0]: "ada", asked[1]: "bob"}
        assert senders_of(session, []) == {}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_image_files_of_others_stay(database: Database, tmp_path):
    images = {number: photo(number) for number in range(20, 34)}
    limit_gb = 6 * max(len(data) for data in images.values()) / 2**30
    settings = ServiceSettings(folder=tmp_path, max_images_gb=limit_gb)
    client = client_of(create_app(settings, database, FixedModel(0)))

    def send(advertiser: str, number: int) -> None:
        files = [("images", ("a.png", images[number]))]
        answer = client.post("/v1/classify", data={"advertiser": advertiser}, files=files)
        assert answer.status_code == 200, answer.text

    def kept(advertiser: str, number: int) -> bool:
        path = f"/v1/images/{sha256(images[number])}"
        return client.get(path, params={"advertiser": advertiser}).status_code == 200

    send("ada", 20)
    for number in range(21, 34):
        send("bob", number)
    assert kept("ada", 20)
    assert not kept("bob", 21)
    assert kept("bob", 33)


def test_the_oldest_questions_of_who_asks_most_go(database: Database):
    with database.writes() as session:
        session.add(Picture(id=1, look_hash="0" * 16, thumbnail=b""))
        session.flush()
        session.add(StoredImage(sha256="0" * 64, picture_id=1, width=1, height=1, format="PNG",
                                seen_at=datetime.now(UTC)))  # fmt: skip
        session.flush()
        for advertiser, count in (("ada", 2), ("bob", 6)):
            for number in range(count):
                note_question(session, advertiser, "0" * 64, {"number": number}, "ana")
        note_question(session, "bob", "0" * 64, {"number": 0}, "ana")  # asked again
    with database.writes() as session:
        trim_questions(session, 3)
    with database.reads() as session:
        left = {
            advertiser: [row.options["number"] for row in history(session, advertiser)]
            for advertiser in ("ada", "bob")
        }
    assert left == {"ada": [1, 0], "bob": [0, 5, 4]}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_history_is_trimmed_now_and_then(database: Database, tmp_path):
    settings = ServiceSettings(folder=tmp_path, max_questions=2)
    app = create_app(settings, database, recommender=DrawnRecommender())
    app.state.parts.recommend._trim_every = 1
    marketer = Marketer(client_of(app))
    first, *_, last = (marketer.ask(photo(number)) for number in range(40, 44))
    found = marketer.http.get("/v1/questions", params={"advertiser": "ada"}).json()["questions"]
    tokens = [row["token"] for row in found]
    assert len(tokens) == 2
    assert last["question"] == tokens[0]
    assert first["question"] not in tokens


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_batches_of_one_advertiser_that_wait_are_bounded(database: Database, tmp_path):
    client = client_of(keyed_app(database, tmp_path, max_batches=2))

    def add(advertiser: str):
        body = {"advertiser": advertiser, "urls": ["https://example.com/1.jpg"]}
        return client.post("/v1/batches", json=body)

    first, second, third = (add("ada") for _ in range(3))
    assert [answer.status_code for answer in (first, second, third)] == [202, 202, 429]
    error = third.json()["error"]
    assert "at most 2 that wait or run" in error["expected"]
    assert "more URLs in one batch" in error["remedy"]
    assert int(third.headers["Retry-After"]) > 0
    assert add("bob").status_code == 202
    with database.writes() as session:
        session.get_one(Job, first.json()["id"]).state = "done"
        session.get_one(Job, second.json()["id"]).state = "running"
    assert [add("ada").status_code for _ in range(2)] == [202, 429]
