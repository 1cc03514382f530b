"""Answers are kept by picture, and bad images fail alone."""

import pytest

from service.backends import BundleBackend, ClassifyOptions
from service.database.tables import StoredAnswer
from tests.service.pages import Caller, photo, sha256


def test_an_answer_is_the_models_and_is_kept(caller: Caller, backend: BundleBackend):
    image = photo(0)
    (first,) = caller.classify(image)
    expected = backend.classify([image], ClassifyOptions()).images[0]
    assert first["sha256"] == sha256(image)
    assert (first["width"], first["height"], first["format"]) == (160, 160, "PNG")
    for label, told in expected.labels.items():
        assert first["labels"][label]["value"] == told.value
        assert first["labels"][label]["source"] == "classified"
        assert first["labels"][label]["probability"] == pytest.approx(told.probability, abs=1e-6)
    assert first["ranks"]["likes"]["percentile"] == expected.ranks["likes"].percentile
    assert not first["cached"]
    (second,) = caller.classify(image, advertiser="bob")
    assert second["cached"]
    assert second["labels"] == first["labels"]


def test_the_same_shot_in_another_encoding_is_known(caller: Caller):
    png, jpeg = photo(1), photo(1, ".jpg")
    (first,) = caller.classify(png)
    (other,) = caller.classify(jpeg)
    assert other["cached"]
    assert (other["sha256"], other["format"]) == (sha256(jpeg), "JPEG")
    assert other["labels"] == first["labels"]
    (stranger,) = caller.classify(photo(2))
    assert not stranger["cached"]


def test_other_options_are_another_question(caller: Caller):
    image = photo(3)
    caller.classify(image)
    (decided,) = caller.classify(image, review_kind="Box Review")
    assert not decided["cached"]
    assert decided["decision"]["review_kind"] == "Box Review"
    assert caller.classify(image, review_kind="Box Review")[0]["cached"]


def test_a_bad_image_fails_alone(caller: Caller):
    large = b"\xff\xd8\xff" + bytes(2**20)
    good, broken, text, much = caller.classify(photo(4), photo(4)[:90], b"hello", large)
    assert good["error"] is None
    assert broken["error"]["code"] in ("broken_image", "unsupported_image")
    assert text["error"]["status"] == 415
    assert much["error"]["code"] == "image_too_large"
    assert "at most 1,048,576 bytes" in much["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"advertiser": ""}, 422, "advertiser"),
        ({"coverage": "2"}, 422, "coverage"),
        ({"configured": "red"}, 400, "configured is no JSON"),
        ({"configured": '{"colour": 3}'}, 400, "configured does not fit"),
        ({"configured": '{"colour": "red"}'}, 400, "no tag of this bundle"),
        ({"review_kind": "Hat Review"}, 400, "Box Review"),
    ],
)
def test_bad_fields_say_what_is_expected(caller: Caller, fields, status, words):
    answer = caller.http.post(
        "/v1/classify",
        files=[("images", ("a", photo(5)))],
        data={"advertiser": "ada", **fields},
    )
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]
    assert "Traceback" not in answer.text


def test_more_than_a_hundred_images_are_refused(caller: Caller):
    files = [("images", (str(n), b"x")) for n in range(101)]
    answer = caller.http.post("/v1/classify", files=files, data={"advertiser": "ada"})
    assert answer.status_code == 400
    assert "1 to 100" in answer.json()["error"]["message"]


def test_the_least_recently_used_answers_go_first(caller: Caller):
    service = caller.http.app.state.classify
    service._max_answers, images = 6, [photo(20 + n) for n in range(8)]
    service._added = 10_000
    for image in images:
        caller.classify(image)
        service._added = 10_000
    with service.database.reads() as session:
        assert session.query(StoredAnswer).count() <= 6
    assert caller.classify(images[-1])[0]["cached"]
    assert not caller.classify(images[0])[0]["cached"]


def test_health_metrics_and_request_ids(caller: Caller):
    assert caller.http.get("/healthz").json() == {"status": "ok"}
    assert caller.http.get("/readyz").status_code == 200
    caller.classify(photo(6))
    text = caller.http.get("/metrics").text
    assert 'augrank_requests_total{method="POST",route="/v1/classify",status="200"} 1.0' in text
    assert (
        caller.http.get("/healthz", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"]
        == "abc-1"
    )
    forged = caller.http.get("/healthz", headers={"X-Request-Id": "x" * 200})
    assert len(forged.headers["x-request-id"]) == 16
    nothing = caller.http.get("/nothing")
    assert nothing.status_code == 404
    assert nothing.json()["error"]["message"] == "Not Found: GET /nothing"
    assert caller.http.get("/v1/classify").status_code == 405
    schema = caller.http.get("/v1/openapi.json").json()
    assert {"/v1/classify", "/v1/fixes", "/v1/fixes/{fix_id}/undo"} <= set(schema["paths"])
