"""What the requests of a batch name by URL: one download for all, and what came of it."""

import pytest

from augrank.errors import AugrankError, BadRequest, ImageNotFetched
from augrank.runtime.json_images import MAX_IMAGES
from augrank.runtime.url_images import with_downloads
from augrank.runtime.wire import read_requests

JSON = {"content-type": "application/json"}
IMAGE = "YQ=="


def read(body: dict):
    return read_requests({"body": body}, JSON, allow_urls=True)


class Fetch:
    """Answers with the URLs themselves, and keeps how it was called."""

    def __init__(self):
        self.calls = []

    def __call__(self, requests):
        self.calls.append(requests)
        return [
            [ImageNotFetched("no", got=url) if "bad" in url else url.encode() for url in urls]
            for urls in requests
        ]


def images_of(requests) -> list:
    return [body.images and [str(image) for image in body.images] for body in requests.bodies]


def test_a_batch_is_downloaded_once_and_each_request_gets_its_own():
    fetch, error = Fetch(), BadRequest("not a request")
    several = read(
        {
            "instances": [
                {"urls": ["http://a", "http://bad"]},
                {"image": IMAGE},
                {"urls": ["http://c"]},
            ]
        }
    )
    received = [read({"urls": ["http://b"]}), error, read({"image": IMAGE}), several]
    found = with_downloads(received, fetch)
    assert fetch.calls == [[["http://b"], ["http://a", "http://bad", "http://c"]]]
    assert images_of(found[0]) == [["b'http://b'"]]
    assert found[1] is error
    assert found[2] is received[2]
    assert images_of(found[3]) == [
        ["b'http://a'", "urls[1]: no: got http://bad"],
        None,
        ["b'http://c'"],
    ]
    assert found[3].instances
    assert not found[3].urls


def test_what_was_not_downloaded_is_no_image():
    (body,) = read({"urls": ["http://a"]}).bodies
    assert [str(image) for image in body.images] == ["the image was not downloaded"]
    assert with_downloads([read({"image": IMAGE})], None)[0].bodies[0].image == b"a"


def test_a_fault_of_the_download_leaves_the_other_requests():
    def broken(_):
        raise RuntimeError("no threads")

    plain = read({"image": IMAGE})
    failed, kept = with_downloads([read({"urls": ["http://a"]}), plain], broken)
    assert isinstance(failed, AugrankError)
    assert failed.status == 500
    assert kept is plain


@pytest.mark.parametrize("name", ["urls", "images"])
def test_instances_have_as_many_images_as_a_request(name):
    fits = [{name: [IMAGE] * 30}] * 3 + [{name: [IMAGE] * 9}, {"image": IMAGE}]
    assert len(read({"instances": fits}).bodies) == 5
    with pytest.raises(BadRequest, match=f"at most {MAX_IMAGES} in all, got 101"):
        read({"instances": [*fits, {"image": IMAGE}]})
