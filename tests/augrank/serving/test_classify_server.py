"""A classifier behind the real TorchServe: one image or many, and those that cannot be read."""

import base64
import json

import cv2
import httpx
import pytest

from augrank.serving.capacity import CapacityRequest, plan_serving
from augrank.serving.server import ServerOptions, serve
from tests.support.labelled_images import draw_labelled
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.slow
BROKEN = b"\xff\xd8\xff\xe0 not a picture"


def photo(number: int) -> bytes:
    image, _, _ = draw_labelled(3000 + number)
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture(scope="module")
def server(classify_export):
    plan = plan_serving(CapacityRequest(workers=1, batch_size=4, batch_delay_ms=5))
    options = ServerOptions(
        port=0, plan=plan, precision="fp32", device="cpu", timeout_s=PATIENCE_S
    )  # as in process
    with serve(classify_export.archive, options) as running:
        yield running


def send(server, body: dict) -> httpx.Response:
    return httpx.post(server.url, json=body, headers=server.headers, timeout=PATIENCE_S)


@pytest.mark.parametrize("content_type", ["image/png", "application/x-image"])
def test_a_raw_image_is_answered_as_in_process(server, classifier, content_type):
    """``application/x-image`` is SageMaker's own, and that of its batch transforms."""
    headers = {**server.headers, "Content-Type": content_type, "X-Augrank-Fields": "top=3"}
    response = httpx.post(server.url, content=photo(0), headers=headers, timeout=PATIENCE_S)
    assert response.status_code == 200
    (got,) = response.json()["images"]
    want = json.loads(classifier.classify(photo(0), top=3).model_dump_json())
    assert got["sha256"] == want["sha256"]
    for label, told in got["labels"].items():
        assert told["value"] == want["labels"][label]["value"]
        assert told["probability"] == pytest.approx(want["labels"][label]["probability"], abs=0.02)


def test_many_images_are_answered_together_and_bad_ones_skipped(server):
    images = [encoded(photo(number)) for number in range(30)]
    images[4], images[9], images[20] = "%%%", encoded(BROKEN), {"b64": images[20]}
    response = send(server, {"images": images, "review_kind": "Box Review", "coverage": 0.8})
    assert response.status_code == 200
    answer = response.json()
    assert len(answer["images"]) == 30
    skipped = {n: each["error"]["code"] for n, each in enumerate(answer["images"]) if each["error"]}
    assert skipped == {4: "bad_request", 9: "broken_image"}
    assert answer["images"][4]["error"]["message"].startswith("images[4]: image is not valid")
    good = [each for each in answer["images"] if not each["error"]]
    assert {each["decision"]["decision"] for each in good} <= {"accept", "reject", "ask"}
    assert answer["coverage"] == 0.8


def test_instances_have_options_of_their_own(server):
    body = {
        "instances": [
            {"image": encoded(photo(1)), "review_kind": "Shape Review"},
            {"image": encoded(photo(1)), "top": 1},
        ]
    }
    first, second = send(server, body).json()["predictions"]
    assert first["images"][0]["decision"]["review_kind"] == "Shape Review"
    assert second["images"][0]["decision"] is None
    assert len(second["images"][0]["labels"]["shape"]["top"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"images": [encoded(photo(0))] * 101}, 400, "expected a list of 1 to 100 images"),
        ({"images": []}, 400, "a list of 1 to 100 images, as base64 text, got a list of 0"),
        ({"images": encoded(photo(0))}, 400, "images does not fit"),
        ({"images": [""], "image": encoded(photo(0))}, 400, "the body has image and images"),
        ({"image": encoded(BROKEN)}, 422, ""),
        ({"image": encoded(photo(0)), "review_kind": "Shop Review"}, 400, "Shape Review, Box"),
        ({"image": encoded(photo(0)), "kind": "x"}, 400, "the field 'kind' is not known"),
        ({"image": encoded(photo(0)), "coverage": 2}, 400, "'coverage' does not fit"),
        ({"review_kind": "Box Review"}, 400, "the request has no image"),
    ],
)
def test_what_cannot_be_answered_says_why(server, body, status, message):
    response = send(server, body)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
