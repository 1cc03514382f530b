"""An advertiser has so many assignments without outcomes: each keeps its image for good."""

from pathlib import Path

import pytest

from service.database.session import Database
from service.database.tables import Assignment
from service.outcomes import open_assignments
from service.settings import ServiceSettings
from tests.service.outcomes.support import Campaign, count
from tests.service.support.pages import photo, sha256

MOST = 3


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    monkeypatch.setattr(open_assignments, "COUNT_AFTER", 2)
    monkeypatch.setattr(open_assignments, "COUNT_AGAIN_S", 0.001)
    return ServiceSettings(folder=tmp_path, max_open_assignments=MOST)


def test_too_many_without_outcomes_are_refused_until_some_are_reported(
    campaign: Campaign, database: Database, tmp_path
):
    image = photo(40)
    campaign.show(image)
    given = [campaign.assign(image, unit=f"list {number}") for number in range(MOST)]
    fresh = photo(41)
    campaign.show(fresh)
    refused = campaign.ask(fresh)
    assert refused.status_code == 429, refused.text
    error = refused.json()["error"]
    assert "at most 3" in error["expected"]
    assert "/v1/outcomes" in error["remedy"]
    assert "Retry-After" in refused.headers
    assert not list((tmp_path / "images/kept").glob(f"*/{sha256(fresh)}"))
    assert campaign.assign(image, unit="list 0")["id"] == given[0]["id"]  # that it has
    assert campaign.ask(image, advertiser="bob").status_code == 404  # not his image
    reported = {"assignment": given[0]["id"], "successes": 0, "trials": 0}
    assert campaign.report(reported).status_code == 201
    assert campaign.ask(fresh).status_code == 200
    assert campaign.ask(fresh).status_code == 429
    assert count(database, Assignment) == MOST + 1


def test_the_limit_is_of_each_advertiser(campaign: Campaign):
    image = photo(42)
    for advertiser in ("ada", "bob"):
        campaign.advertiser = advertiser
        campaign.show(image)
        statuses = [campaign.ask(image).status_code for _ in range(MOST + 2)]
        assert statuses == [200] * MOST + [429] * 2
