"""The queue: least sure first, each picture once, and what a person has seen is gone from it."""

import json
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import delete, select, text

from augrank.tasks.classify.response import Answer, ClassScore, ImageAnswer, LabelAnswer, Timings
from service.answers.classify import ClassifyRequest, ClassifyService
from service.answers.kept import trim_answers
from service.backends.classify import ClassifyOptions
from service.database.session import MIGRATIONS, Database
from service.database.tables import AnswerLabel, QueueEntry, Review, StoredAnswer
from service.fixes import history, queue
from service.fixes.queue import QueueFilter, queue_page
from service.fixes.reviews import Confirmation, confirm, undo_review
from tests.service.support.pages import Caller, photo, sha256

COLOURS = ("blue", "green", "red")


class Unsure:
    """Says "blue" of every picture, with the next probability of a list."""

    name, tags = "unsure", {}
    labels = {"colour": COLOURS}  # noqa: RUF012 - never changed

    def __init__(self, *probabilities: float, model: str = "a" * 64, value: str = "blue") -> None:
        self.left, self.model, self.value = list(probabilities), model, value

    def check(self, options: ClassifyOptions) -> None:
        """All options fit."""

    def decode(self, files, limits) -> None:
        """It takes files."""

    def classify(self, images, options: ClassifyOptions) -> Answer:
        told = [self._told(self.left.pop(0)) for _ in images]
        return Answer(
            model=self.name, bundle_version="1", engine="none", coverage=options.coverage,
            images=tuple(ImageAnswer(labels={"colour": each}) for each in told),
            timings_ms=Timings(total=0.0),
        )  # fmt: skip

    def _told(self, probability: float) -> LabelAnswer:
        top = (ClassScore(name=self.value, probability=probability),)
        found = (self.value,) if probability >= 0.5 else (self.value, "red")
        return LabelAnswer(value=self.value, probability=probability, top=top, set=found)


def send(database: Database, model: Unsure, *images: bytes, advertiser: str = "ada", **options):
    service = ClassifyService(database, model)
    service(ClassifyRequest(advertiser, images, ClassifyOptions(**options), {}))


def page(database: Database, label: str = "colour", after=None, limit: int = 100, **given):
    with database.reads() as session:
        return queue_page(
            session, QueueFilter(label, **{"advertiser": "ada", **given}), after, limit
        )


def digests(items) -> list[str]:
    return [item.sha256 for item in items]


IMAGES = [photo(n) for n in range(80, 85)]
SURE = (0.9, 0.4, 0.7, 0.3, 0.99)
WORST_FIRST = [sha256(IMAGES[n]) for n in (3, 1, 2, 0, 4)]


@pytest.fixture
def filled(database: Database) -> Database:
    send(database, Unsure(*SURE), *IMAGES)
    return database


def test_the_least_sure_pictures_are_first(filled: Database):
    items = page(filled)
    assert digests(items) == WORST_FIRST
    assert [item.probability for item in items] == sorted(SURE)
    assert (items[0].value, items[0].model, items[0].set_size) == ("blue", "a" * 64, 2)
    assert items[0].content["set"] == ["blue", "red"]


def test_pages_go_on_where_the_last_one_ended(filled: Database):
    found, after = [], None
    while items := page(filled, after=after, limit=2):
        found += digests(items)
        after = queue.Cursor.of(str(items[-1].cursor))
    assert found == WORST_FIRST


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"unsure": True}, WORST_FIRST[:2]),
        ({"least": 0.4, "most": 0.7}, WORST_FIRST[1:3]),
        ({"value": "red"}, []),
        ({"value": "blue"}, WORST_FIRST),
        ({"model": "a" * 64}, WORST_FIRST),
        ({"model": "b" * 64}, []),
        ({"label": "shape"}, []),
        ({"advertiser": "bob"}, []),
        ({"state": "corrected"}, []),
    ],
)
def test_filters(filled: Database, given, expected):
    assert digests(page(filled, **given)) == expected


def test_a_picture_is_there_once_whatever_files_options_and_models_there_are(filled: Database):
    again = photo(83, ".jpg")  # the same picture as the worst one
    send(filled, Unsure(0.5), again, top=2)
    send(filled, Unsure(0.95, model="b" * 64, value="green"), IMAGES[3])
    items = page(filled)
    assert len(items) == len(IMAGES)
    assert (items[-2].value, items[-2].probability) == ("green", 0.95)  # the last answer counts
    assert digests(page(filled, model="a" * 64)) == WORST_FIRST  # unusual options do not count
    assert digests(page(filled, model="b" * 64)) == [items[-2].sha256]


def test_an_answer_with_more_classes_than_usual_is_in_the_queue(database: Database):
    send(database, Unsure(0.6), IMAGES[0], top=50)
    assert digests(page(database)) == [sha256(IMAGES[0])]


def test_what_a_person_has_seen_is_gone_and_comes_back_with_an_undo(filled: Database):
    with filled.writes() as session:
        fix = history.correct(
            session, history.Correction("ada", WORST_FIRST[0], "colour", "red", None, "ana")
        )
        (review,) = confirm(session, "ada", "colour", [Confirmation(WORST_FIRST[1], "blue")], "eva")
    assert digests(page(filled)) == WORST_FIRST[2:]
    (corrected,) = page(filled, state="corrected")
    assert (corrected.sha256, corrected.fix.after, corrected.fix.who) == (
        WORST_FIRST[0], "red", "ana",
    )  # fmt: skip
    (confirmed,) = page(filled, state="confirmed")
    assert (confirmed.sha256, confirmed.review.who) == (WORST_FIRST[1], "eva")
    assert digests(page(filled, state="all")) == WORST_FIRST
    with filled.reads() as session:
        assert queue.progress(session, QueueFilter("colour", "ada")) == queue.Progress(3, False, 2)
    with filled.writes() as session:
        history.undo(session, "ada", fix.id, "ana")
        undo_review(session, "ada", review.id, "ben")
    assert digests(page(filled)) == WORST_FIRST
    with filled.reads() as session:
        row = session.get(Review, review.id)  # who said what stays written
        assert (row.who, row.undone_by) == ("eva", "ben")


def test_a_confirmation_holds_until_a_model_says_something_else(filled: Database):
    with filled.writes() as session:
        confirm(session, "ada", "colour", [Confirmation(WORST_FIRST[0], "blue")], "eva")
    send(filled, Unsure(0.35, model="b" * 64), IMAGES[3])
    assert WORST_FIRST[0] not in digests(page(filled))  # it says the same
    send(filled, Unsure(0.35, model="c" * 64, value="green"), IMAGES[3])
    assert digests(page(filled))[0] == WORST_FIRST[0]


def test_confirmations_are_idempotent_and_refuse_what_is_not_so(filled: Database):
    given = [
        Confirmation(WORST_FIRST[0], "blue"),
        Confirmation(WORST_FIRST[1], "green"),  # nobody said so
        Confirmation("0" * 64, "blue"),
        Confirmation(WORST_FIRST[2], "blue"),
    ]
    with filled.writes() as session:
        history.correct(
            session, history.Correction("ada", WORST_FIRST[2], "colour", "red", None, "ana")
        )
    ids = []
    for _ in range(2):
        with filled.writes() as session:
            rows = confirm(session, "ada", "colour", given, "eva")
            ids.append(rows[0].id)
        assert [getattr(row, "status", 201) for row in rows] == [201, 409, 404, 409]
        assert "red" in str(rows[3])
    assert ids[0] == ids[1]
    with filled.writes() as session:
        (other,) = confirm(session, "bob", "colour", given[:1], "eva")
        assert other.status == 404


def test_each_advertiser_has_an_own_queue(filled: Database):
    send(filled, Unsure(), IMAGES[3], advertiser="bob")
    with filled.writes() as session:
        confirm(session, "ada", "colour", [Confirmation(WORST_FIRST[0], "blue")], "eva")
    assert digests(page(filled, advertiser="bob")) == [WORST_FIRST[0]]
    everybody = page(filled, advertiser=None)
    assert [(item.advertiser, item.sha256) for item in everybody] == [
        ("bob", WORST_FIRST[0]),
        *[("ada", digest) for digest in WORST_FIRST[1:]],
    ]
    again = photo(83, ".jpg")
    send(filled, Unsure(), again, advertiser="bob")
    assert len(page(filled, advertiser=None)) == len(everybody)
    first = page(filled, advertiser=None, limit=1)
    rest = page(filled, advertiser=None, after=first[0].cursor)
    assert len(first) + len(rest) == len(everybody)


def test_after_a_rollback_the_answers_of_the_live_model_are_shown(filled: Database):
    old, new, alone = "a" * 64, "b" * 64, photo(85)
    send(filled, Unsure(0.2, 0.1, model=new, value="green"), IMAGES[3], IMAGES[4])
    send(filled, Unsure(0.6, model=new, value="green"), alone)  # the old one has not seen it
    promoted = page(filled, live=new)
    assert [(item.value, item.live) for item in promoted] == [
        ("green", True), ("green", True), ("blue", False), ("green", True), ("blue", False),
        ("blue", False),
    ]  # fmt: skip
    assert digests(promoted)[:2] == [sha256(IMAGES[4]), sha256(IMAGES[3])]
    back = page(filled, live=old)
    assert digests(back) == [*WORST_FIRST[:2], sha256(alone), *WORST_FIRST[2:]]
    assert {(item.value, item.live, item.model) for item in back if item.live} == {
        ("blue", True, old)
    }
    (unseen,) = [item for item in back if not item.live]
    assert (unseen.sha256, unseen.value, unseen.model) == (sha256(alone), "green", new)
    with filled.reads() as session:
        assert queue.progress(session, QueueFilter("colour", "ada", live=old)).left == 6
    found, after = [], None
    while items := page(filled, live=old, after=after, limit=2, advertiser=None):
        found += digests(items)
        after = queue.Cursor.of(str(items[-1].cursor))
    assert found == digests(back)


def test_what_was_confirmed_of_the_live_model_stays_so_after_a_rollback(filled: Database):
    old, new = "a" * 64, "b" * 64
    with filled.writes() as session:
        confirm(session, "ada", "colour", [Confirmation(WORST_FIRST[0], "blue")], "eva")
    send(filled, Unsure(0.2, model=new, value="green"), IMAGES[3])
    assert digests(page(filled, live=new))[0] == WORST_FIRST[0]  # it says something else
    assert digests(page(filled, live=old)) == WORST_FIRST[1:]
    (seen,) = page(filled, live=old, state="confirmed")
    assert (seen.value, seen.review.who) == ("blue", "eva")


def test_an_answer_that_goes_makes_room_for_the_one_before(filled: Database):
    send(filled, Unsure(0.2, model="b" * 64, value="green"), IMAGES[3])
    with filled.writes() as session:
        last = select(StoredAnswer.id).order_by(StoredAnswer.id.desc()).limit(1)
        session.get(StoredAnswer, session.scalar(last)).used_at = datetime(2020, 1, 1, tzinfo=UTC)
    assert trim_answers(filled, 5) == 1
    assert digests(page(filled)) == WORST_FIRST


def test_an_answer_is_shown_to_who_sends_its_file_later(filled: Database):
    with filled.writes() as session:
        history.correct(
            session, history.Correction("ada", WORST_FIRST[0], "colour", "red", None, "ana")
        )
    again = Unsure(model="a" * 64)  # it is not asked again
    send(filled, again, IMAGES[3], IMAGES[1], advertiser="bob")
    assert digests(page(filled, advertiser="bob")) == WORST_FIRST[:2]
    assert digests(page(filled, advertiser="ada")) == WORST_FIRST[1:]


def test_labels_go_with_their_answers(filled: Database):
    trim_answers(filled, 3)
    with filled.reads() as session:
        answers = set(session.scalars(select(StoredAnswer.id)))
        assert set(session.scalars(select(AnswerLabel.answer_id))) == answers
        assert 0 < len(answers) <= 3


def test_answers_of_an_older_database_are_filled_in(filled: Database):
    before = page(filled)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with filled._writer.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        connection.execute(
            text(
                "INSERT INTO answers (id, picture_id, model, options, content, used_at) "
                "SELECT 1000, picture_id, 'odd', '{}', '{}', used_at FROM answers LIMIT 1"
            )
        )
        command.upgrade(config, "head")
    with filled.writes() as session:
        session.execute(delete(StoredAnswer).where(StoredAnswer.model == "odd"))
    assert [(i.sha256, i.probability, i.set_size) for i in page(filled)] == [
        (i.sha256, i.probability, i.set_size) for i in before
    ]


def test_entries_of_an_older_database_are_what_they_would_be(filled: Database):
    send(filled, Unsure(0.2, 0.8, model="b" * 64, value="green"), IMAGES[3], IMAGES[1])
    again = photo(83, ".jpg")  # another file of a picture, which two send
    send(filled, Unsure(0.5, model="b" * 64), again, advertiser="bob")
    send(filled, Unsure(model="b" * 64), again)
    send(filled, Unsure(), IMAGES[0], advertiser="bob")
    with filled.writes() as session:
        history.correct(
            session, history.Correction("ada", WORST_FIRST[2], "colour", "red", None, "ana")
        )
        confirm(session, "ada", "colour", [Confirmation(WORST_FIRST[0], "blue")], "eva")
    before = entries(filled)
    assert {entry.state for entry in before} == {"open", "corrected", "confirmed"}
    assert {entry.lane for entry in before} == {"", "a" * 64, "-"}
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with filled._writer.connect() as connection, connection.begin():
        config.attributes["connection"] = connection
        command.downgrade(config, "0010")
        command.upgrade(config, "head")
    assert entries(filled) == before


def entries(database: Database) -> list:
    columns = QueueEntry.__table__.columns
    with database.reads() as session:
        return session.execute(select(*columns).order_by(*columns)).all()


def test_the_queue_over_http(caller: Caller):
    images = [photo(n) for n in range(90, 94)]
    told = caller.classify(*images)
    first = caller.http.get(
        "/v1/queue", params={"label": "colour", "advertiser": "ada", "limit": 3}
    ).json()
    rest = caller.http.get(
        "/v1/queue",
        params={"label": "colour", "advertiser": "ada", "after": first["next_after"]},
    ).json()
    found = first["pictures"] + rest["pictures"]
    by_digest = {each["sha256"]: each["labels"]["colour"] for each in told}
    assert {each["sha256"] for each in found} == set(by_digest)
    for each in found:
        label = by_digest[each["sha256"]]
        assert (each["model_value"], each["probability"], each["live"]) == (
            label["model_value"], label["probability"], True,
        )  # fmt: skip
    assert rest["next_after"] is None
    probabilities = [each["probability"] for each in found]
    assert probabilities == sorted(probabilities)
    body = {
        "advertiser": "ada", "label": "colour", "who": "ana",
        "images": [{"sha256": each["sha256"], "value": each["model_value"]} for each in found[:2]]
        + [{"sha256": "f" * 64, "value": "red"}],
    }  # fmt: skip
    answer = caller.http.post("/v1/confirmations", json=body)
    assert answer.status_code == 201, answer.text
    kept = answer.json()["images"]
    assert [each["error"] and each["error"]["status"] for each in kept] == [None, None, 404]
    store = caller.http.app.state.parts.images
    assert "kept" in store.path(found[0]["sha256"]).parts
    state = caller.http.get("/v1/queue/progress", params={"label": "colour", "advertiser": "ada"})
    assert state.json() == {"left": 2, "more": False, "done": 2}
    undone = caller.http.post(
        f"/v1/confirmations/{kept[0]['id']}/undo", json={"advertiser": "ada", "who": "ana"}
    )
    assert undone.json()["undone_by"] == "ana"
    hidden = caller.http.post(
        f"/v1/confirmations/{kept[1]['id']}/undo", json={"advertiser": "bob", "who": "ana"}
    )
    assert hidden.status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"label": "size"}, 400, "no label"),
        ({}, 422, "label"),
        ({"label": "colour", "after": "x"}, 400, "next_after"),
        ({"label": "colour", "after": "nan,1,a"}, 400, "next_after"),
        ({"label": "colour", "state": "lost"}, 422, "state"),
        ({"label": "colour", "least": "2"}, 422, "least"),
    ],
)
def test_bad_queries_are_messages(caller: Caller, query, status, words):
    answer = caller.http.get("/v1/queue", params=query)
    assert answer.status_code == status, answer.text
    assert words in json.dumps(answer.json())
