"""The classifier's handler, with images that are named by URL."""

import json

import pytest

from augrank.download import request_images
from augrank.download.public_addresses import Guard
from augrank.runtime import worker
from augrank.runtime.settings import ALLOW_URLS
from handlers.classify_handler import ClassifyHandler
from tests.augrank.download.test_request_images import Handler
from tests.support.image_files import noise_jpeg
from tests.support.patience import PATIENCE_S
from tests.support.pools import own_threads
from tests.support.servers import serving
from tests.support.worker import make_context


@pytest.fixture
def folder(classify_export, tmp_path):
    (tmp_path / "bundle").symlink_to(classify_export.bundle)
    return tmp_path


def answers(folder, body: dict) -> tuple[dict, int]:
    handler = ClassifyHandler()
    handler.initialize(make_context(folder, []))
    context = make_context(folder, [{"Content-Type": "application/json"}])
    with own_threads(handler.task.embedder):
        (text,) = handler.handle([{"body": json.dumps(body).encode()}], context)
    return json.loads(text), context.get_response_status(0)[0]


def test_urls_are_refused_unless_they_are_allowed(folder, monkeypatch):
    monkeypatch.delenv(ALLOW_URLS, raising=False)
    content, status = answers(folder, {"urls": ["http://example.com/a.jpg"]})
    assert status == 400
    assert "AUGRANK_ALLOW_URLS=1" in content["error"]["message"]


def test_what_is_fetched_is_answered_and_the_rest_skipped(folder, monkeypatch):
    monkeypatch.setenv(ALLOW_URLS, "1")
    monkeypatch.setattr(request_images, "TIMEOUT_S", PATIENCE_S)
    local = request_images.RequestImages(guard=Guard(allow_loopback=True), total_s=PATIENCE_S)
    monkeypatch.setattr(worker, "_url_reader", lambda: local.of_batch)
    with serving(Handler) as server:
        urls = [f"{server.url}/image", f"{server.url}/missing", "http://10.1.2.3/x.jpg"]
        content, status = answers(folder, {"urls": urls, "top": 1})
    assert status == 200
    first, second, third = content["images"]
    assert set(first["labels"]) == {"shape", "colour"}
    assert second["error"]["code"] == third["error"]["code"] == "image_not_fetched"
    assert second["error"]["message"].startswith("urls[1]: the image could not be downloaded")
    assert "not a public address" in third["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"urls": []}, "a list of 1 to 100 URLs, got a list of 0"),
        ({"urls": ["http://x"] * 101}, "a list of 101"),
        ({"urls": [7]}, "urls[0] does not fit"),
        ({"urls": ["http://" + "x" * 3000]}, "at most 2,048 characters"),
        ({"urls": ["http://x"], "images": ["aa"]}, "images and urls"),
    ],
)
def test_lists_of_urls_are_checked(folder, monkeypatch, body, message):
    monkeypatch.setenv(ALLOW_URLS, "1")
    content, status = answers(folder, body)
    assert status == 400
    assert message in content["error"]["message"]


def test_instances_and_other_requests_of_a_batch_share_one_download(folder, monkeypatch):
    monkeypatch.setenv(ALLOW_URLS, "1")
    calls = []

    def fetch(requests):
        calls.append(requests)
        return [[noise_jpeg(len(url)) for url in urls] for urls in requests]

    monkeypatch.setattr(worker, "_url_reader", lambda: fetch)
    handler = ClassifyHandler()
    handler.initialize(make_context(folder, []))
    instances = [{"urls": [f"http://example.com/{'x' * number}.jpg"]} for number in range(8)]
    bodies = [{"instances": instances}, {"urls": ["http://example.com/y.jpg"]}]
    context = make_context(folder, [{"Content-Type": "application/json"}] * 2)
    with own_threads(handler.task.embedder):
        texts = handler.handle([{"body": json.dumps(body).encode()} for body in bodies], context)
    several, one = map(json.loads, texts)
    assert [image["error"] for image in one["images"]] == [None]
    widths = [answer["images"][0]["width"] for answer in several["predictions"]]
    assert widths == [len(instance["urls"][0]) for instance in instances]
    assert [[len(urls) for urls in requests] for requests in calls] == [[8, 1]]


@pytest.mark.parametrize(("allowed", "named"), [("1", True), ("0", False)])
def test_an_unknown_field_is_told_what_is_allowed(folder, monkeypatch, allowed, named):
    monkeypatch.setenv(ALLOW_URLS, allowed)
    content, status = answers(folder, {"image": "YQ==", "url": "http://example.com/a.jpg"})
    assert status == 400
    expected = content["error"]["expected"]
    assert expected.startswith(f"one of image, images, {'urls, ' if named else ''}review_kind")
    assert ("did you mean urls?" in expected) == named
