"""Fixes are reviewed over HTTP: decisions are checked and kept, each advertiser's its own."""

import json

from service.api.retraining import Item as ItemAnswer
from service.database.tables import ReviewItem
from service.retraining.review import left_of
from service.retraining.work import Retraining


def test_decisions_are_checked_kept_and_taken_back(caller, queue):
    path = f"/v1/retraining/{queue}/review"
    page = caller.http.get(path).json()
    assert (page["total"], page["undecided"], len(page["items"])) == (4, 4, 4)
    first = page["items"][0]["id"]

    def put(**body):
        return caller.http.put(f"{path}/{first}", json={"who": "eva", **body})

    assert put(decision="relabel", value="pink").status_code == 400
    assert put(decision="crop", crop=[0.5, 0.5, 0.51, 1]).status_code == 400
    assert put(decision="crop", crop=[0.5, 0.5, 1.1, 1]).status_code == 422
    assert put(decision="guess").status_code == 422
    assert put(decision="keep", who=None).status_code == 400
    answer = put(decision="relabel", value="green")
    assert (answer.status_code, answer.json()["relabelled"]) == (200, "green")
    assert put(decision="crop", crop=[0.1, 0.2, 0.9, 1]).json()["relabelled"] is None
    assert caller.http.get(path).json()["undecided"] == 3
    back = caller.http.post(f"{path}/{first}/undo").json()
    assert (back["decision"], back["crop"], back["who"]) == (None, None, "")
    assert caller.http.get(path).json()["undecided"] == 4
    end = f"/v1/retraining/{queue}/finish"
    assert caller.http.post(end, json={"who": "eva"}).status_code == 409
    assert caller.http.post(end, json={"who": "eva", "accept": True}).json()["state"] == "waiting"
    assert put(decision="keep").status_code == 409  # the review has ended
    image = caller.http.get(f"{path}/{first}/image")
    assert (image.status_code, image.headers["content-type"]) == (200, "image/jpeg")
    images = caller.http.app.state.parts.images
    while file := images.path(page["items"][0]["sha256"]):  # among those sent, and for good
        file.unlink()
    gone = caller.http.get(f"{path}/{first}/image")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "image_expired")
    assert "Drop the fix" in gone.json()["error"]["message"]


def key_of(parts: Retraining, advertiser: str | None) -> dict[str, str]:
    from service.access import keys
    from service.access.identity import Role

    with parts.database.writes() as session:
        _, key = keys.create_key(session, keys.NewKey("eva", advertiser, Role.ADMIN))
    return {"Authorization": f"Bearer {key}"}


def test_a_key_of_one_advertiser_sees_its_own_fixes_alone(parts, caller, queue):
    ada, everybody = key_of(parts, "ada"), key_of(parts, None)
    path = f"/v1/retraining/{queue}"
    mine = caller.http.get(f"{path}/review", headers=ada).json()
    assert (mine["total"], {each["advertiser"] for each in mine["items"]}) == (2, {"ada"})
    assert "bob" not in json.dumps(mine)
    every = caller.http.get(f"{path}/review", headers=everybody).json()["items"]
    other = next(each["id"] for each in every if each["advertiser"] == "bob")
    for answer in (
        caller.http.put(f"{path}/review/{other}", json={"decision": "keep"}, headers=ada),
        caller.http.post(f"{path}/review/{other}/undo", headers=ada),
        caller.http.get(f"{path}/review/{other}/image", headers=ada),
    ):
        assert answer.status_code == 404
    for place in ("", f"/{queue}/finish", f"/{queue}/cancel"):
        assert caller.http.post(f"/v1/retraining{place}", json={}, headers=ada).status_code == 403
    with parts.database.reads() as session:
        assert left_of(session, queue) == (4, 4)
        assert ItemAnswer.of(session.get(ReviewItem, other), None).advertiser == "bob"
    page = caller.http.get("/review", headers=ada)
    assert page.status_code == 200
    assert "bob" not in page.text
