"""Fixes hold at once, for one advertiser, whatever becomes of files and models; none is lost."""

import pytest
from fastapi.testclient import TestClient

from service.answers.kept import NewAnswer, keep_answers
from service.app import create_app
from service.database.session import Database
from service.fixes.history import Correction, correct
from service.images.pictures import known_images, note_sightings
from service.settings import ServiceSettings
from tests.service.support.pages import Caller, photo, sha256


def label(caller: Caller, image: bytes, name: str = "colour", **options):
    return caller.classify(image, **options)[0]["labels"][name]


def another(value: str) -> str:
    return "green" if value != "green" else "red"


def test_a_fix_holds_at_once_for_its_advertiser_alone(caller: Caller):
    image = photo(0)
    told = label(caller, image)
    right = another(told["value"])
    made = caller.fix(image, "colour", right, why="seen in daylight")
    assert made.status_code == 201, made.text
    fixed = label(caller, image)
    assert (fixed["value"], fixed["source"]) == (right, "fixed")
    assert (fixed["model_value"], fixed["probability"]) == (told["value"], told["probability"])
    assert (fixed["fix"]["who"], fixed["fix"]["why"]) == ("ana", "seen in daylight")
    assert label(caller, image, advertiser="bob") == told
    assert label(caller, image, "shape")["source"] == "classified"


def test_a_fix_holds_for_every_encoding_and_every_model(caller: Caller, tmp_path, backend):
    png, jpeg = photo(1), photo(1, ".jpg", quality=70)
    right = another(label(caller, png)["value"])
    caller.fix(png, "colour", right)
    assert label(caller, jpeg)["value"] == right

    class Newer:
        """The same model under another digest, as after a retraining."""

        name, model, labels, tags = "newer", "f" * 64, backend.labels, backend.tags
        classify = staticmethod(backend.classify)
        check = staticmethod(backend.check)

    database = Database(caller.http.app.state.parts.classify.database.url)
    app = create_app(ServiceSettings(folder=tmp_path), database, Newer())
    with TestClient(app) as http:
        (answer,) = Caller(http).classify(jpeg)
    assert answer["model_digest"] == "f" * 64
    assert answer["labels"]["colour"]["value"] == right
    database.close()


def test_a_row_keeps_what_the_model_had_said(caller: Caller):
    image, again = photo(90), photo(90, ".jpg")
    told = label(caller, image)
    assert label(caller, again)["model_value"] == told["value"]  # from the answer about the other
    right = another(told["value"])
    made = caller.fix(again, "colour", right).json()
    assert (made["model_value"], made["after"]) == (told["value"], right)
    assert caller.undo(made["id"]).json()["model_value"] == told["value"]


def test_the_model_that_a_person_looked_at_counts_and_no_other_advertisers_files(caller: Caller):
    image, database = photo(91), caller.http.app.state.parts.database
    told = label(caller, image)["value"]
    later = "f" * 64  # answered before a rollback

    def fix(advertiser: str, model: str | None) -> str | None:
        correction = Correction(
            advertiser, sha256(image), "colour", another(told), None, "ana", model=model
        )
        with database.writes() as session:
            return correct(session, correction).model_value

    with database.writes() as session:
        picture = known_images(session, [sha256(image)])[sha256(image)].picture_id
        content = {"labels": {"colour": {"value": another(told), "probability": 0.9, "set": []}}}
        answer = NewAnswer(picture, sha256(image), "{}", content, "ada", listed=True)
        keep_answers(session, [answer], later)
        for advertiser in ("bob", "eve"):
            note_sightings(session, advertiser, [sha256(image)])
    live = caller.http.app.state.parts.classify.backend.model
    assert (fix("ada", live), fix("bob", later), fix("eve", None)) == (told, another(told), None)


def test_undo_restores_and_is_a_row_too(caller: Caller):
    image = photo(2)
    told = label(caller, image)
    first, second = [name for name in ("blue", "green", "red") if name != told["value"]]
    caller.fix(image, "colour", first)
    two = caller.fix(image, "colour", second, before=first, who="ben").json()
    undone = caller.undo(two["id"], who="eva").json()
    assert (undone["before"], undone["after"], undone["undoes"]) == (second, first, two["id"])
    assert label(caller, image)["value"] == first
    back = caller.undo(undone["id"]).json()  # an undo can be undone
    assert back["after"] == second
    caller.undo(back["id"])
    restored = caller.history(sha256=sha256(image))
    assert [row["id"] for row in restored] == sorted((r["id"] for r in restored), reverse=True)
    assert [row["who"] for row in restored] == ["ana", "ana", "eva", "ben", "ana"]
    assert label(caller, image)["value"] == first
    for gone in (two, undone):  # only what holds can be taken back
        old = caller.undo(gone["id"])
        assert old.status_code == 409
        assert "changed in the meantime" in old.json()["error"]["message"]


def test_fixes_are_undone_one_after_the_other(caller: Caller):
    image = photo(6)
    told = label(caller, image)
    first, second = [name for name in ("blue", "green", "red") if name != told["value"]]
    one = caller.fix(image, "colour", first).json()
    two = caller.fix(image, "colour", second, before=first).json()
    assert caller.undo(one["id"]).status_code == 409  # another one holds
    assert caller.undo(two["id"]).json()["after"] == first
    last = caller.undo(one["id"]).json()
    assert (last["before"], last["after"]) == (first, None)
    assert label(caller, image) == told
    assert caller.undo(one["id"]).status_code == 409  # nothing is left


def test_undoing_the_only_fix_gives_the_models_answer_back(caller: Caller):
    image = photo(3)
    told = label(caller, image)
    made = caller.fix(image, "colour", another(told["value"])).json()
    gone = caller.undo(made["id"]).json()
    assert gone["after"] is None
    assert label(caller, image) == told


def test_two_people_do_not_overrule_each_other_silently(caller: Caller):
    image = photo(4)
    told = label(caller, image)
    first, second = [name for name in ("blue", "green", "red") if name != told["value"]]
    caller.fix(image, "colour", first)
    refused = caller.fix(image, "colour", second, who="ben")
    assert refused.status_code == 409
    error = refused.json()["error"]
    assert (error["expected"], error["got"].split()[0:3]) == ("(none)", [first, "by", "ana"])
    assert label(caller, image)["value"] == first
    again = caller.fix(image, "colour", first)  # as after an answer that was lost
    assert again.json()["id"] == caller.history()[0]["id"]
    assert len(caller.history()) == 1
    assert caller.fix(image, "colour", first, who="ben").status_code == 201  # they agree
    assert caller.fix(image, "colour", second, before=first, who="ben").status_code == 201


def test_what_belongs_to_another_advertiser_is_not_there(caller: Caller):
    image = photo(5)
    made = caller.fix(image, "colour", "red")
    assert made.status_code == 404  # it was never classified
    told = label(caller, image)
    made = caller.fix(image, "colour", another(told["value"])).json()
    assert caller.undo(made["id"], advertiser="bob").status_code == 404
    # Bob has never sent the image, so he cannot correct it, nor learn that others have.
    assert caller.fix(image, "colour", "red", advertiser="bob").status_code == 404
    caller.classify(photo(6), advertiser="bob")
    assert caller.history("bob") == []
    assert [row["id"] for row in caller.history("ada")] == [made["id"]]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"label": "size"}, 400, "the model has no label 'size'"),
        ({"value": "mauve"}, 400, "blue, green, red"),
        ({"sha256": "abc"}, 422, "sha256"),
        ({"who": ""}, 422, "who"),
        ({"extra": 1}, 422, "extra"),
    ],
)
def test_mistakes_are_messages(caller: Caller, change, status, words):
    image = photo(6)
    caller.classify(image)
    body = {"label": "colour", "value": "red"} | change
    answer = caller.fix(image, **body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]
    assert caller.history() == []


def test_history_has_pages(caller: Caller):
    image = photo(7)
    caller.classify(image)
    before = None
    for number in range(7):
        value = ("blue", "green", "red")[number % 3]
        assert caller.fix(image, "colour", value, before=before).status_code == 201
        before = value
    first = caller.http.get("/v1/fixes", params={"advertiser": "ada", "limit": 3}).json()
    rest = caller.history(before_id=first["next_before_id"])
    assert len(first["fixes"]) + len(rest) == 7
    assert rest[-1]["before"] is None


def test_fixes_are_there_after_a_restart(caller: Caller, tmp_path, backend):
    image = photo(8)
    right = another(label(caller, image)["value"])
    caller.fix(image, "colour", right)
    again = Database(caller.http.app.state.parts.classify.database.url)
    again.migrate()
    with TestClient(create_app(ServiceSettings(folder=tmp_path), again, backend)) as http:
        answer = Caller(http).classify(image)[0]
    assert answer["cached"]
    assert answer["labels"]["colour"]["value"] == right
    again.close()
