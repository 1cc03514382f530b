"""An advertiser opens with what it sends; whoever looks at one that nobody has opened is told."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.access.identity import Role
from service.app import create_app
from service.database.session import Database
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.keyed import client_of, make_key
from tests.service.support.pages import Caller, photo
from tests.service.support.recommender_stub import DrawnRecommender

LISTS = (
    "/v1/fixes", "/v1/fixes/export", "/v1/queue?label=colour", "/v1/queue/progress?label=colour",
    "/v1/questions", "/v1/jobs", "/v1/outcomes/manifest", "/v1/configured",
)  # fmt: skip


@pytest.fixture
def app(database: Database, tmp_path) -> FastAPI:
    settings = ServiceSettings(folder=tmp_path)
    return create_app(settings, database, FixedModel(0), DrawnRecommender())


def ask(client: TestClient, path: str, advertiser: str):
    url, _, query = path.partition("?")
    given = dict(pair.split("=") for pair in query.split("&") if pair)
    return client.get(url, params={**given, "advertiser": advertiser})


@pytest.mark.parametrize("path", LISTS)
def test_a_name_that_nobody_has_opened_is_told_with_those_that_are_like_it(app, path):
    client = client_of(app)
    first = ask(client, path, "dealer_07")
    assert (first.status_code, first.json()["error"]["code"]) == (404, "not_found")
    Caller(client).classify(photo(0), advertiser="dealer_007")
    Caller(client).classify(photo(0), advertiser="somebody else")
    refused = ask(client, path, "dealer_07")
    assert refused.status_code == 404
    error = refused.json()["error"]
    assert (error["expected"], error["got"]) == ("dealer_007", "dealer_07")
    assert "spelling" in error["remedy"]
    assert ask(client, path, "dealer_007").status_code == 200
    Caller(client).classify(photo(0), advertiser="dealer_07")  # sending stays open
    assert ask(client, path, "dealer_07").status_code == 200


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_key_of_one_advertiser_opens_it_and_learns_of_no_other(app, database, path):
    one = client_of(app, make_key(database, "ana", "ada", Role.READ))
    everybody = client_of(app, make_key(database, "root"))
    assert ask(one, path, "ada").status_code == 200  # nothing was sent yet
    assert ask(everybody, path, "ada").status_code == 200
    Caller(everybody).classify(photo(0), advertiser="adam")
    refused = ask(one, path, "adan")
    assert refused.status_code == 404
    assert "adam" not in refused.text
    assert ask(everybody, path, "adan").json()["error"]["expected"] == "adam"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_batch_opens_an_advertiser_whatever_came_of_it(app):
    client = client_of(app)
    body = {"advertiser": "ada", "urls": ["http://127.0.0.1:9/1.jpg"]}
    assert client.post("/v1/batches", json=body).status_code == 202
    assert len(ask(client, "/v1/jobs", "ada").json()["jobs"]) == 1
