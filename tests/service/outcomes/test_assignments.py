"""What was shown can be drawn again, and a unit gets the same one again."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from augrank.images.augmentations import augmentation_set
from service.client import ServiceClient, ServiceError
from service.database.session import Database
from service.database.tables import Assignment
from tests.service.outcomes.support import CONTEXT, NAMES, Campaign, count
from tests.service.support.pages import photo, sha256
from tests.service.support.recommender_stub import DrawnRecommender


@pytest.mark.parametrize("policy", ["best", "uniform", "thompson"])
def test_an_assignment_is_drawn_again_bit_for_bit(campaign: Campaign, policy: str):
    image = photo(0)
    answer = campaign.show(image)
    given = campaign.assign(image, policy=policy)
    assert [each["name"] for each in given["candidates"]] == [
        each["name"] for each in answer["candidates"]
    ]
    propensities = [each["propensity"] for each in given["candidates"]]
    assert abs(sum(propensities) - 1) <= 1e-12
    chosen = next(each for each in given["candidates"] if each["name"] == given["choice"])
    assert given["propensity"] == chosen["propensity"] > 0
    assert chosen["parameters"] == augmentation_set("seed")[given["choice"]].parameters()
    if policy == "best":
        assert given["choice"] == answer["best_candidate"]["name"]
        assert given["propensity"] == 1
    seen = campaign.look(given["id"]).json()
    assert seen["assignment"] == given
    assert seen["replay"] == {
        "same": True,
        "choice": given["choice"],
        "propensities": propensities,
    }
    again = campaign.assign(image, policy=policy, seed=given["seed"])
    assert again["id"] != given["id"]
    assert (again["choice"], again["candidates"]) == (given["choice"], given["candidates"])


def test_a_log_that_was_changed_is_not_replayed_as_the_same(campaign: Campaign, database: Database):
    image = photo(1)
    campaign.show(image)
    given = campaign.assign(image)
    with database.writes() as session:
        session.execute(update(Assignment).values(propensity=given["propensity"] + 1e-9))
    assert campaign.look(given["id"]).json()["replay"]["same"] is False
    with database.writes() as session:
        session.execute(update(Assignment).values(version=99))
    refused = campaign.look(given["id"])
    assert refused.status_code == 409
    assert "version 1, got 99" in refused.json()["error"]["message"]


def test_draws_differ_and_follow_the_propensities(campaign: Campaign):
    image = photo(2)
    campaign.show(image)
    given = [campaign.assign(image, policy="uniform") for _ in range(120)]
    assert len({each["seed"] for each in given}) == 120
    seen = Counter(each["choice"] for each in given)
    assert set(seen) == set(NAMES)
    assert max(seen.values()) < 45  # 20 expected


def test_a_unit_gets_the_same_candidate_again_whatever_the_model(campaign: Campaign):
    image = photo(3)
    campaign.show(image)
    first = campaign.assign(image, unit="newsletter 7", policy="uniform")
    spelled = json.dumps({name: value.lower() for name, value in CONTEXT.items()})
    assert campaign.assign(image, unit="newsletter 7", context=spelled) == first
    parts = campaign.http.app.state.parts
    parts.recommend.live.replace(DrawnRecommender(model="e" * 64))
    assert campaign.assign(image, unit="newsletter 7", policy="best") == first
    others = {
        campaign.assign(image, unit="newsletter 8")["id"],
        campaign.assign(image, unit="newsletter 7", target="unsubscribe_rate")["id"],
        campaign.assign(image, unit="newsletter 7", context="{}")["id"],
    }
    assert len(others - {first["id"]}) == 3
    assert campaign.assign(image, unit="newsletter 8")["model_digest"] == "e" * 64


def test_of_many_who_ask_for_one_unit_at_once_all_get_one(campaign: Campaign, database: Database):
    image = photo(4)
    campaign.show(image)
    with ThreadPoolExecutor(8) as pool:
        given = list(pool.map(lambda _: campaign.assign(image, unit="u"), range(16)))
    assert len({each["id"] for each in given}) == 1
    assert count(database, Assignment) == 1


def test_nothing_of_another_advertiser_is_there(campaign: Campaign):
    image = photo(5)
    campaign.show(image)
    given = campaign.assign(image, unit="u")
    bob = Campaign(campaign.http, "bob")
    assert bob.ask(image).status_code == 404
    assert bob.look(given["id"]).status_code == 404
    refused = bob.report({"assignment": given["id"], "successes": 1, "trials": 2})
    assert refused.status_code == 404
    bob.show(image)
    assert bob.assign(image, unit="u")["id"] != given["id"]
    campaign.report({"assignment": given["id"], "successes": 1, "trials": 2})
    assert bob.manifest() == []
    assert len(campaign.manifest()) == 1


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"policy": "greedy"}, 422, "policy"),
        ({"floor": 0.6}, 422, "floor"),
        ({"seed": 2**53}, 422, "seed"),
        ({"context": "{"}, 400, "context is no JSON"),
        ({"context": "[1]"}, 400, "context does not fit"),
        ({"context": '{"a": []}'}, 400, "text or a number"),
        ({"context": json.dumps({"campaign_type": "a" * 201})}, 400, "at most 200 characters"),
        ({"target": "sales"}, 422, "there is no such target"),
        ({"sha256": None}, 400, "sha256 or catalogue"),
        ({"catalogue": "a.png"}, 400, "sha256 or catalogue"),
        ({"sha256": "0" * 64}, 404, "no such image"),
    ],
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_questions_that_do_not_fit_are_messages(campaign: Campaign, query, status, words):
    campaign.show(photo(9))
    answer = campaign.ask(photo(9), **query)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_image_that_was_shown_stays_when_others_go(campaign: Campaign):
    image = photo(18)
    campaign.show(image)
    campaign.assign(image)
    images = campaign.http.app.state.parts.images
    images._limit, images._bytes = 1, None
    images.add("0" * 64, b"another")
    assert images.read(sha256(image)) == image


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_image_that_is_not_kept_any_more_is_not_shown(campaign: Campaign, database: Database):
    image = photo(20)
    campaign.show(image)
    campaign.http.app.state.parts.images.path(sha256(image)).unlink()
    gone = campaign.ask(image)
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "image_expired")
    assert count(database, Assignment) == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_client_assigns_and_reports(campaign: Campaign):
    image = photo(19)
    campaign.show(image)
    made = ServiceClient("http://service", "ada", "ana")
    made.close()
    made._http = campaign.http
    given = made.assign(sha256(image), context=CONTEXT, unit="u")
    assert given["choice"] in NAMES
    (result,) = made.report({"assignment": given["id"], "successes": 1, "trials": 4})
    assert result["state"] == "added"
    with pytest.raises(ServiceError, match="other numbers"):
        made.report({"assignment": given["id"], "successes": 2, "trials": 4})
