"""Who works on models, and why, is seen by those alone who see all advertisers."""

from datetime import UTC, datetime

import pytest

from service.access.identity import Role
from service.database.session import Database
from service.database.tables import Model, Promotion
from tests.service.support.keyed import client_of, keyed_app, make_key

WHO, WHY = "operator-key-of-olga", "better-on-white-vans"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("advertiser", [None, "ada"])
def test_who_promoted_a_model_is_not_told_to_a_key_of_one_advertiser(
    database: Database, tmp_path, advertiser
):
    now = datetime.now(UTC)
    with database.writes() as session:
        for number, state in ((1, "retired"), (2, "live")):
            session.add(
                Model(task="classify", name="m", digest=str(number) * 64, path="x", state=state,
                      created_at=now, metrics={})
            )  # fmt: skip
        session.flush()
        for before, after in ((None, 1), (1, 2)):
            session.add(
                Promotion(task="classify", before_id=before, after_id=after, kind="promote",
                          who=WHO, why=WHY, at=now)
            )  # fmt: skip
    key = make_key(database, "ana", advertiser, Role.READ)
    client = client_of(keyed_app(database, tmp_path), key)
    rows = client.get("/v1/models/promotions").json()["promotions"]
    assert [row["after"] for row in rows] == [2, 1]
    seen = (WHO, WHY) if advertiser is None else ("", "")
    assert {(row["who"], row["why"]) for row in rows} == {seen}
    page = client.get("/models")
    assert page.status_code == 200, page.text
    for text in (WHO, WHY):
        assert (text in page.text) == (advertiser is None)
    for path in ("/v1/models", "/v1/models/watch"):
        assert WHO not in client.get(path).text
