"""Values that an advertiser has configured for all of its images."""

from threading import Thread

import pytest
from fastapi import FastAPI

from augrank.models.tags import TagRule
from service.access.identity import Role
from service.app import create_app
from service.database.session import Database
from service.errors import Conflict
from service.fixes.configured import configure, configured_of, rows_of
from service.fixes.given import Answering
from service.fixes.reviews import Confirmation, confirm
from service.settings import ServiceSettings
from tests.service.fixes.test_defaults import DIGEST, NOTHING, Desk, Model
from tests.service.support.keyed import client_of, make_key
from tests.service.support.pages import Caller, photo, sha256

IMAGE = photo(87)
TAGS = {"colour": TagRule(default=None, least=0.4)}


@pytest.fixture
def app(database: Database, tmp_path) -> FastAPI:
    model = Model("a", TAGS, colour=("blue", 0.9), type=("dealer", 0.9))
    return create_app(ServiceSettings(folder=tmp_path), database, model)


@pytest.fixture
def caller(app: FastAPI) -> Caller:
    return Caller(client_of(app))


def put(caller: Caller, values: dict[str, str], advertiser: str = "ada", who: str = "ana"):
    body = {"advertiser": advertiser, "values": values, "who": who}
    return caller.http.put("/v1/configured", json=body)


def colour(caller: Caller, advertiser: str = "ada", **fields) -> tuple[str, str, str]:
    (image,) = caller.classify(IMAGE, advertiser=advertiser, **fields)
    label = image["labels"]["colour"]
    return label["value"], label["source"], label["model_value"]


def test_configured_values_hold_from_the_next_answer_on_for_their_advertiser(caller: Caller):
    assert colour(caller) == colour(caller, "bob") == ("blue", "classified", "blue")
    answer = put(caller, {"colour": "RED"})
    assert answer.status_code == 200
    (row,) = answer.json()["values"]
    assert (row["label"], row["value"], row["who"]) == ("colour", "red", "ana")
    assert caller.http.get("/v1/configured", params={"advertiser": "ada"}).json() == answer.json()
    assert colour(caller) == ("red", "configured", "blue")
    assert colour(caller, "bob") == ("blue", "classified", "blue")
    assert put(caller, {}).json()["values"] == []
    assert colour(caller) == ("blue", "classified", "blue")


def test_a_request_wins_over_the_advertiser_and_a_fix_over_both(caller: Caller):
    put(caller, {"colour": "red"})
    assert colour(caller, configured={"colour": "blue"}) == ("blue", "configured", "blue")
    assert colour(caller) == ("red", "configured", "blue")
    assert caller.fix(IMAGE, "colour", "blue").status_code == 201
    assert colour(caller) == ("blue", "fixed", "blue")


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"type": "dealer"}, 400, "no tag of this bundle"),
        ({"colour": "reed"}, 400, "the configured colour is not known"),
        ({"colour": 3}, 422, "values"),
        ({f"l{n}": "red" for n in range(101)}, 422, "values"),
    ],
)
def test_what_cannot_be_configured_is_told_and_changes_nothing(caller, values, status, words):
    put(caller, {"colour": "red"})
    refused = put(caller, values)
    assert refused.status_code == status
    assert words in refused.json()["error"]["message"]
    assert colour(caller) == ("red", "configured", "blue")


def test_who_may_only_read_configures_nothing(app: FastAPI, database: Database):
    reads = Caller(client_of(app, make_key(database, "eve", "ada", Role.READ)))
    corrects = Caller(client_of(app, make_key(database, "ana", "ada", Role.CORRECT)))
    assert put(reads, {"colour": "red"}).status_code == 403
    assert put(corrects, {"colour": "red"}, who="").status_code == 422
    body = {"advertiser": "ada", "values": {"colour": "red"}}
    assert corrects.http.put("/v1/configured", json=body).json()["values"][0]["who"] == "ana"
    assert put(corrects, {"colour": "red"}, advertiser="bob").status_code == 404
    read = reads.http.get("/v1/configured", params={"advertiser": "ada"})
    assert [row["value"] for row in read.json()["values"]] == ["red"]


def test_values_that_stay_keep_who_configured_them(database: Database):
    with database.writes() as session:
        configure(session, "ada", {"colour": "red", "type": "dealer"}, "ana")
        configure(session, "bob", {"colour": "blue"}, "bob")
    with database.writes() as session:
        configure(session, "ada", {"colour": "red", "type": "placeholder"}, "ben")
    with database.reads() as session:
        found = [(row.label, row.value, row.who) for row in rows_of(session, "ada")]
        assert found == [("colour", "red", "ana"), ("type", "placeholder", "ben")]
        assert configured_of(session, ["ada", "bob", "eve"]) == {
            "ada": {"colour": "red", "type": "placeholder"},
            "bob": {"colour": "blue"},
        }


def test_a_label_that_is_no_tag_of_a_later_model_is_left_to_it(database: Database):
    first = Desk(database, Model("a", NOTHING, colour=("blue", 0.9)))
    with database.writes() as session:
        configure(session, "ada", {"colour": "red"}, "ana")
    assert first.answer() == "red"
    assert Desk(database, Model("b", {}, colour=("blue", 0.9))).answer() == "blue"


def test_inspectors_judge_what_is_configured_and_again_when_it_changes(database: Database):
    desk = Desk(database, Model("a", NOTHING, colour=("blue", 0.9)))
    desk.answer()
    assert desk.left() == [("blue", "blue")]
    with database.writes() as session:
        configure(session, "ada", {"colour": "red"}, "ana")
    assert desk.left() == [("red", "blue")]
    assert isinstance(desk.confirm("blue"), Conflict)
    desk.confirm("red")
    assert (desk.left(), desk.left("confirmed")) == ([], [("red", "blue")])
    with database.writes() as session:
        configure(session, "ada", {}, "ben")
    assert desk.left() == [("blue", "blue")]
    desk.confirm("blue")
    assert desk.left() == []


def test_a_class_that_was_confirmed_stays_so(database: Database):
    desk = Desk(database, Model("a", NOTHING, colour=("blue", 0.9)))
    desk.answer()
    desk.confirm("blue")
    with database.writes() as session:
        configure(session, "ada", {"colour": "red"}, "ana")
    assert (desk.answer(), desk.left()) == ("red", [])


def test_a_class_that_a_later_model_does_not_have_is_not_given(database: Database):
    with database.writes() as session:
        configure(session, "ada", {"colour": "burgundy"}, "ana")
    assert Desk(database, Model("a", NOTHING, colour=("blue", 0.9))).answer() == "blue"


def test_a_confirmation_and_a_configuration_at_once_leave_no_stale_one(database: Database):
    desk = Desk(database, Model("a", NOTHING, colour=("blue", 0.9)))
    desk.answer()
    with database.writes() as session:
        configure(session, "ada", {"colour": "red"}, "ana")
    configuring = Thread(target=lambda: _configure(database, {}))
    given = [Confirmation(DIGEST, "red")]
    with database.writes() as session:
        confirm(session, "ada", "colour", given, "ben", Answering(desk.model.tags, "a" * 64))
        configuring.start()
        configuring.join(0.3)
        assert configuring.is_alive()  # it waits for the confirmation, which it takes back
    configuring.join()
    assert desk.left() == [("blue", "blue")]


def _configure(database: Database, values: dict[str, str]) -> None:
    with database.writes() as session:
        configure(session, "ada", values, "eva")


def test_the_typed_client_configures(caller: Caller):
    from service.client import ServiceClient

    client = ServiceClient("http://service", "ada", "ana")
    client.close()
    client._http = caller.http
    assert [row["value"] for row in client.configure({"colour": "red"})] == ["red"]
    assert [row["value"] for row in client.configured()] == ["red"]
    assert client.classify(IMAGE)[0]["labels"]["colour"]["source"] == "configured"
    assert client.classify(IMAGE)[0]["sha256"] == sha256(IMAGE)
