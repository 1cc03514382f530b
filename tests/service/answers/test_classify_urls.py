"""Images to classify may be named by URL, beside files or in their place."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import ServiceSettings
from tests.service.support.fixed_model import FixedModel
from tests.service.support.pages import Caller, photo, sha256


@pytest.fixture
def caller(database, tmp_path):
    settings = ServiceSettings(folder=tmp_path, allow_loopback=True)
    with TestClient(create_app(settings, database, FixedModel(0))) as http:
        yield Caller(http)


def test_urls_are_classified_beside_files(caller: Caller, site):
    url = site.answer("/b.png", photo(81))
    given = {"advertiser": "ada", "urls": [url, "http://10.0.0.1/x.png", site.root + "/gone.png"]}
    answer = caller.http.post("/v1/classify", data=given, files=[("images", ("a.png", photo(80)))])
    assert answer.status_code == 200, answer.text
    first, second, private, gone = answer.json()["images"]
    assert (first["sha256"], second["sha256"]) == (sha256(photo(80)), sha256(photo(81)))
    (direct,) = caller.classify(photo(81))
    assert second["labels"] == direct["labels"]
    assert "public" in private["error"]["message"]
    assert "404" in gone["error"]["message"]


@pytest.mark.parametrize("urls", [[], ["http://127.0.0.1/a.png"] * 101])
def test_one_to_a_hundred_urls_are_classified(caller: Caller, urls):
    answer = caller.http.post("/v1/classify", data={"advertiser": "ada", "urls": urls})
    assert answer.status_code == 400
    assert "1 to 100" in answer.json()["error"]["message"]
