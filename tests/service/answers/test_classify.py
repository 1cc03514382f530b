"""Answers are kept by picture, and bad images fail alone."""

from dataclasses import replace

import cv2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from augrank.images.decode import decode, encode
from service.answers.classify import ClassifyRequest, ClassifyService
from service.app import create_app
from service.backends import classify as classify_backend
from service.backends.classify import BundleBackend, ClassifyOptions
from service.database.tables import Picture, StoredAnswer, StoredImage
from service.settings import ServiceSettings
from simulation.render import render_image
from tests.service.support.fixed_model import FixedModel
from tests.service.support.images import take_in
from tests.service.support.pages import Caller, photo, sha256


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
    (second,) = caller.classify(image)
    assert second["cached"]
    assert second["labels"] == first["labels"]
    assert first["model_digest"] == backend.model
    (others,) = caller.classify(image, advertiser="bob")
    assert not others["cached"]  # what others have sent is nobody's business
    assert others["labels"] == first["labels"]


def test_a_new_file_is_decoded_once_for_its_look_and_for_the_model(
    database, backend: BundleBackend, monkeypatch
):
    files = (photo(110), b"hello", photo(111), photo(110))
    expected = backend.classify([photo(110), photo(111)], ClassifyOptions()).images
    decoded, classify = [], backend.classify

    def noted(images, options):
        decoded.extend(images)
        return classify(images, options)

    monkeypatch.setattr(classify_backend, "LOOK_PX", 32)
    monkeypatch.setattr(backend, "classify", noted)
    service = ClassifyService(database, backend)
    told = service(ClassifyRequest("ada", files, ClassifyOptions(), {}))
    assert [each.sha256 for each in decoded] == [sha256(photo(110)), sha256(photo(111))]
    assert [each.pixels.shape[:2] for each in decoded] == [(32, 32)] * 2
    assert told[1].error["code"] == "unsupported_image"
    for answer, right in zip((told[0], told[2], told[3]), (*expected, expected[0]), strict=True):
        assert (answer.sha256, answer.width, answer.format) == (right.sha256, 160, "PNG")
        assert answer.labels["colour"].probability == pytest.approx(
            right.labels["colour"].probability, abs=1e-6
        )


def test_a_picture_is_known_whatever_size_its_model_takes(database):
    class Sized(FixedModel):
        def __init__(self, side: int) -> None:
            super().__init__(side)
            self.side = side

        def decode(self, files, limits):
            return [
                replace(decode(data, self.side, limits), sha256=digest)
                for digest, data in files.items()
            ]

    drawn = cv2.resize(render_image("review", 3, seed=4, size=300)[0], (600, 400))
    files = [encode(drawn, name) for name in ("PNG", "JPEG", "WEBP", "BMP")]
    for file, side in zip(files, (64, 224, 96), strict=False):
        service = ClassifyService(database, Sized(side))
        (answer,) = service(ClassifyRequest("ada", (file,), ClassifyOptions(), {}))
        assert (answer.width, answer.height) == (600, 400)
    take_in(database, files[3])  # as for a recommender
    with database.reads() as session:
        assert session.scalar(select(func.count()).select_from(StoredImage)) == 4
        assert session.scalar(select(func.count()).select_from(Picture)) == 1


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
    assert decided["decision"]["review_kind"] == "Box Review"
    assert caller.classify(image)[0]["decision"] is None


def test_a_fix_of_its_label_decides_on_credit(caller: Caller):
    image = photo(3)
    (told,) = caller.classify(image, review_kind="Shape Review")
    assert (told["decision"]["label"], told["decision"]["credit"]) == ("shape", ["disc"])
    now = None
    for value, decision, earns in (("bar", "reject", 0), ("disc", "accept", 1)):
        assert caller.fix(image, "shape", value, before=now).status_code == 201
        (fixed,) = caller.classify(image, review_kind="Shape Review")
        credit = fixed["decision"]
        assert (credit["decision"], credit["probability"]) == (decision, earns)
        assert f"a person has corrected shape to {value}" in credit["text"]
        now = value
    colour = "red" if told["labels"]["colour"]["value"] != "red" else "blue"
    caller.fix(image, "colour", colour)  # of another label: it decides nothing
    assert caller.classify(image, review_kind="Shape Review")[0]["decision"] == fixed["decision"]
    undone = caller.undo(caller.history(sha256=told["sha256"])[1]["id"])
    assert undone.status_code == 201
    assert caller.classify(image, review_kind="Shape Review")[0]["decision"]["decision"] == "reject"


def test_a_bad_image_fails_alone(caller: Caller):
    large = b"\xff\xd8\xff" + bytes(2**20)
    good, broken, text, much = caller.classify(photo(4), photo(4)[:90], b"hello", large)
    assert good["error"] is None
    assert broken["error"]["code"] in ("broken_image", "unsupported_image")
    assert text["error"]["status"] == 415
    assert much["error"]["code"] == "image_too_large"
    assert "at most 1,048,576 bytes" in much["error"]["message"]


def test_what_the_model_refuses_has_its_reason(caller: Caller, monkeypatch):
    service = caller.http.app.state.parts.classify
    ask = service.backend.classify

    def refuses_the_second(images, options):
        answer = ask(images, options)
        error = {"code": "backend_busy", "status": 503, "message": "try again"}
        refused = answer.images[1].model_copy(update={"error": error})
        return answer.model_copy(update={"images": (answer.images[0], refused)})

    monkeypatch.setattr(service.backend, "classify", refuses_the_second)
    good, refused = caller.classify(photo(34), photo(35))
    assert good["error"] is None
    assert (refused["error"]["code"], refused["error"]["message"]) == ("backend_busy", "try again")
    monkeypatch.undo()
    assert caller.classify(photo(35))[0]["error"] is None  # nothing wrong was kept


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


def test_the_least_recently_used_answers_go_first(caller: Caller, monkeypatch):
    service, asked = caller.http.app.state.parts.classify, []
    service._max_answers, service._trim_every = 6, 1
    images, ask = [photo(20 + n) for n in range(8)], service.backend.classify
    for image in images:
        caller.classify(image)
    with service.database.reads() as session:
        assert session.query(StoredAnswer).count() <= 6
    monkeypatch.setattr(
        service.backend, "classify", lambda *given: asked.append(len(given[0])) or ask(*given)
    )
    caller.classify(images[-1])
    assert asked == []
    caller.classify(images[0])
    assert asked == [1]


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


def test_a_failure_is_counted_and_has_an_id(caller: Caller, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(caller.http.app.state.parts.classify.backend, "classify", fails)
    answer = caller.http.post(
        "/v1/classify", files=[("images", ("a", photo(30)))], data={"advertiser": "ada"}
    )
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"]
    caller.http.request("BREW", "/healthz")
    text = caller.http.get("/metrics").text
    assert 'route="/v1/classify",status="500"} 1.0' in text
    assert "BREW" not in text


def test_a_request_that_is_too_large_is_refused_while_it_comes(database, backend, tmp_path):
    settings = ServiceSettings(folder=tmp_path, max_request_mb=0.5)
    with TestClient(create_app(settings, database, backend)) as http:
        files = [("images", (str(n), bytes(2**17))) for n in range(8)]
        stated = http.post("/v1/classify", files=files, data={"advertiser": "ada"})
        body = iter([b"x" * 2**17] * 8)
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        streamed = http.post("/v1/classify", content=body, headers=headers)
    for answer in (stated, streamed):
        assert answer.status_code == 413
        assert "at most 524,288 bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"advertiser": "a\x00b"}, 422),
        ({"advertiser": "a\nb"}, 422),
        ({"configured": "[" * 100_000}, 400),
    ],
)
def test_odd_text_is_refused(caller: Caller, fields, status):
    given = {"advertiser": "ada", **fields}
    answer = caller.http.post("/v1/classify", files=[("images", ("a", photo(31)))], data=given)
    assert answer.status_code == status


@pytest.mark.parametrize("path", ["/v1/fixes/{n}/undo", "/v1/batches/{n}"])
@pytest.mark.parametrize("number", [0, 2**31, 10**20])
def test_odd_numbers_are_refused(caller: Caller, path, number):
    url = path.format(n=number)
    if "undo" in url:
        answer = caller.http.post(url, json={"advertiser": "ada", "who": "ana"})
    else:
        answer = caller.http.get(url, params={"advertiser": "ada"})
    assert answer.status_code == 422


def test_who_sends_a_look_alike_decides_no_answer_of_others(database, tmp_path):
    class ByFile(FixedModel):
        """Says another colour of each encoding."""

        def classify(self, images, options):
            answer = super().classify(images, options)
            told = ["red" if data.startswith(b"\x89PNG") else "green" for data in images]
            return answer.model_copy(
                update={
                    "images": tuple(
                        image.model_copy(
                            update={
                                "labels": {
                                    "colour": image.labels["colour"].model_copy(
                                        update={"value": value}
                                    )
                                }
                            }
                        )
                        for image, value in zip(answer.images, told, strict=True)
                    )
                }
            )

    service = ClassifyService(database, ByFile(0))
    png, jpeg = photo(36), photo(36, ".jpg")

    def told(advertiser: str, image: bytes) -> str | None:
        asked = ClassifyRequest(advertiser, (image,), ClassifyOptions(), {})
        return service(asked)[0].labels["colour"].value

    assert told("bob", jpeg) == "green"
    assert told("ada", png) == "red"  # of her own file, although it looks like his
    assert told("ada", jpeg) == "red"  # the shot that she has sent, in another encoding
    assert told("cyd", jpeg) == "green"  # the same file: what is known of it
