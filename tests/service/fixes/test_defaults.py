"""What the advertiser gets is judged, not the model's class: also a default, or nothing."""

import html
import json
import re

import pytest

from augrank.models.tags import TagRule
from augrank.tasks.classify.response import Answer, ClassScore, ImageAnswer, LabelAnswer, Timings
from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import ClassifyOptions
from service.database.session import Database
from service.database.tables import Review
from service.errors import Conflict
from service.fixes import history
from service.fixes.given import Answering, without_fix
from service.fixes.queue import QueueFilter, queue_page
from service.fixes.reviews import Confirmation, confirm, undo_review
from tests.service.support.pages import Caller, photo, sha256

IMAGE = photo(86)
DIGEST = sha256(IMAGE)
NOTHING = {"colour": TagRule(default=None, least=0.4)}
BY_TYPE = {"colour": TagRule(default="n/a", only_for={"type": ("dealer",)})}


class Model:
    """Says of every picture what it was given: by label, a class and its probability."""

    name = "model"
    labels = {"colour": ("blue", "red"), "type": ("dealer", "placeholder")}  # noqa: RUF012

    def __init__(self, model: str, tags, **told: tuple[str, float]) -> None:
        self.model, self.tags, self.told = model * 64, tags, told

    def check(self, options: ClassifyOptions) -> None:
        """All options fit."""

    def decode(self, files, limits) -> None:
        """It takes files."""

    def classify(self, images, options: ClassifyOptions) -> Answer:
        told = {name: _label(value, sure) for name, (value, sure) in self.told.items()}
        return Answer(
            model=self.name, bundle_version="1", engine="none", coverage=options.coverage,
            images=tuple(ImageAnswer(labels=told) for _ in images), timings_ms=Timings(total=0.0),
        )  # fmt: skip


def _label(value: str, sure: float) -> LabelAnswer:
    top = (ClassScore(name=value, probability=sure),)
    return LabelAnswer(value=value, probability=sure, top=top, set=(value,))


class Desk:
    """An inspector of one label, and the model that answers now."""

    def __init__(self, database: Database, model: Model, label: str = "colour") -> None:
        self.database, self.model, self.label = database, model, label

    def answer(self) -> str | None:
        service = ClassifyService(self.database, self.model)
        (found,) = service(ClassifyRequest("ada", (IMAGE,), ClassifyOptions(), {}))
        return found.labels[self.label].value

    def left(self, state: str = "open") -> list[tuple[str | None, str]]:
        """Return what the queue shows: what is given, and the model's class."""
        given = QueueFilter(
            self.label, "ada", live=self.model.model, state=state, tags=self.model.tags
        )
        with self.database.reads() as session:
            return [(item.given, item.value) for item in queue_page(session, given, None, 9)]

    def confirm(self, value: str | None):
        now = Answering(self.model.tags, self.model.model)
        given = [Confirmation(DIGEST, value)]
        with self.database.writes() as session:
            (row,) = confirm(session, "ada", self.label, given, "ana", now)
        return row

    def fix(self, value: str, label: str = "colour"):
        with self.database.writes() as session:
            return history.correct(
                session, history.Correction("ada", DIGEST, label, value, None, "ana")
            )


def test_that_nothing_is_told_can_be_confirmed_and_the_models_class_cannot(database: Database):
    desk = Desk(database, Model("a", NOTHING, colour=("red", 0.35)))
    assert desk.answer() is None
    assert desk.left() == [(None, "red")]
    refused = desk.confirm("red")  # the advertiser would still get nothing
    assert isinstance(refused, Conflict)
    assert "expected not told" in str(refused)
    assert desk.left() == [(None, "red")]
    row = desk.confirm(None)
    assert (row.value, desk.left(), desk.left("confirmed")) == (None, [], [(None, "red")])
    assert desk.confirm(None).id == row.id  # said again
    with database.writes() as session:
        undo_review(session, "ada", row.id, "ben")
    assert desk.left() == [(None, "red")]


def test_a_fix_to_the_models_own_class_lets_it_be_told(database: Database):
    desk = Desk(database, Model("a", NOTHING, colour=("red", 0.35)))
    desk.answer()
    desk.fix("red")
    assert desk.answer() == "red"
    assert desk.left("corrected") == [("red", "red")]
    assert desk.confirm("red").answer_id is None


def test_a_default_is_confirmed_of_one_answer_a_class_of_every_model(database: Database):
    first = Desk(database, Model("a", NOTHING, colour=("red", 0.35)))
    first.answer()
    first.confirm(None)
    second = Desk(database, Model("b", NOTHING, colour=("red", 0.8)))
    second.answer()
    assert second.left() == [("red", "red")]  # nobody has seen that it is told
    assert first.left() == []  # after a rollback
    second.confirm("red")
    assert second.left() == []


def test_after_a_rollback_the_default_that_is_shown_is_confirmed(database: Database):
    old = Desk(database, Model("a", NOTHING, colour=("red", 0.35)))
    new = Desk(database, Model("b", NOTHING, colour=("blue", 0.3)))
    old.answer()
    new.answer()
    assert old.left() == [(None, "red")]
    old.confirm(None)
    assert (old.left(), new.left()) == ([], [(None, "blue")])


def test_a_default_that_depends_on_another_label_is_looked_at_again_after_its_fix(
    database: Database,
):
    desk = Desk(database, Model("a", BY_TYPE, colour=("red", 0.9), type=("placeholder", 0.8)))
    assert desk.answer() == "n/a"
    desk.confirm("n/a")
    assert desk.left("confirmed") == [("n/a", "red")]
    desk.fix("dealer", "type")
    assert desk.answer() == "red"
    assert (desk.left(), desk.left("confirmed")) == ([("red", "red")], [])
    with database.writes() as session:
        history.undo(session, "ada", 1, "ana")
    assert desk.left() == [("n/a", "red")]
    again = desk.confirm("n/a")
    assert desk.left() == []
    with database.reads() as session:
        assert session.get(Review, again.id).answer_id is not None


def test_rules_about_a_label_that_an_earlier_model_did_not_have():
    told = {"colour": ("red", 0.9)}
    assert without_fix(BY_TYPE, told, {}, "colour", {}) == "n/a"
    assert without_fix(BY_TYPE, told, {"type": "dealer"}, "colour", {}) == "red"
    assert without_fix({}, told, {"colour": "blue"}, "colour", {}) == "red"


@pytest.fixture
def unsure(caller: Caller, monkeypatch) -> Caller:
    """A service whose model is never sure enough of a colour, and has classified a picture."""
    backend = caller.http.app.state.parts.classify.backend
    monkeypatch.setattr(type(backend), "tags", {"colour": TagRule(default=None, least=1.0)})
    (told,) = caller.classify(IMAGE)
    assert told["labels"]["colour"]["value"] is None
    return caller


def test_over_http_the_given_value_is_confirmed(unsure: Caller):
    query = {"label": "colour", "advertiser": "ada"}
    (item,) = unsure.http.get("/v1/queue", params=query).json()["pictures"]
    assert item["value"] is None
    body = {"advertiser": "ada", "label": "colour", "who": "ana"}
    for value, status in ((item["model_value"], 409), (None, None)):
        images = [{"sha256": DIGEST, "value": value}]
        answer = unsure.http.post("/v1/confirmations", json={**body, "images": images})
        assert answer.status_code == 201, answer.text
        (found,) = answer.json()["images"]
        assert (found["error"] or {}).get("status") == status
    undone = unsure.http.post(
        f"/v1/confirmations/{found['id']}/undo", json={"advertiser": "ada", "who": "ana"}
    )
    assert undone.json()["value"] is None


def test_the_page_shows_what_is_given_and_its_forms_judge_that(unsure: Caller):
    text = unsure.http.get("/inspect", params={"label": "colour"}).text
    card = re.search(r'<li class="card" data-item="([^"]*)"', text)[1]
    given = json.loads(html.unescape(card))
    told = re.search(r'data-told="([^"]*)"', text)[1]
    assert given["value"] is None
    assert '<strong class="value">not told</strong>' in text
    assert re.search(rf"\({told} at \d+&nbsp;%\)", text)
    # The class that the model would say stands out.
    assert re.findall(r'<button name="value" value="(\w+)"', text) == [told]
    form = {"action": "accept", "label": "colour", "item": json.dumps(given), "who": "ana"}
    assert unsure.http.post("/inspect", data=form, follow_redirects=False).status_code == 303
    assert unsure.history() == []
    query = {"label": "colour", "state": "confirmed"}
    assert "ana has confirmed it" in unsure.http.get("/inspect", params=query).text
    form |= {"action": "fix", "value": told}
    assert unsure.http.post("/inspect", data=form, follow_redirects=False).status_code == 303
    assert [row["after"] for row in unsure.history()] == [told]
    assert unsure.classify(IMAGE)[0]["labels"]["colour"]["value"] == told
    corrected = unsure.http.get("/inspect", params={"label": "colour", "state": "corrected"}).text
    assert "ana has corrected it (not told before)" in corrected
