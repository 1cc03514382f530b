"""The classifier's handler, with images that are named by URL."""

import json

import pytest

from augrank.download import request_images
from augrank.download.public_addresses import Guard
from augrank.runtime import worker
from augrank.runtime.settings import ALLOW_URLS
from handlers.classify_handler import ClassifyHandler
from tests.augrank.download.test_request_images import Handler
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
    local = request_images.RequestImages(guard=Guard(allow_loopback=True))
    monkeypatch.setattr(worker, "_url_reader", lambda: local)
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
