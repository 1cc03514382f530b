"""Image files come back to the advertiser who has sent them, and to nobody else."""

import cv2
import numpy as np
import pytest

from tests.service.support.pages import Caller, photo, sha256


def get(caller: Caller, image: bytes, path: str = "", advertiser: str = "ada", **more):
    headers = more.pop("headers", {})
    query = {"advertiser": advertiser, **more}
    return caller.http.get(f"/v1/images/{sha256(image)}{path}", params=query, headers=headers)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "image/png"), (".jpg", "image/jpeg")])
def test_a_file_comes_back_as_it_was_sent(caller: Caller, suffix, kind):
    image = photo(0, suffix)
    caller.classify(image)
    answer = get(caller, image)
    assert answer.status_code == 200
    assert answer.content == image
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Disposition"] == "inline"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"].startswith("private")
    known = get(caller, image, headers={"If-None-Match": answer.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_a_thumbnail_is_a_small_jpeg_of_the_picture(caller: Caller):
    image = photo(1)
    caller.classify(image)
    answer = get(caller, image, "/thumbnail", side=64)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Cache-Control"].startswith("private")
    small = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert small.shape == (64, 64, 3)
    large = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - shrunk.astype(int)).mean() < 8
    known = get(
        caller, image, "/thumbnail", side=64, headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert known.status_code == 304
    assert get(caller, image, "/thumbnail", side=5000).status_code == 422


@pytest.mark.parametrize("path", ["", "/thumbnail"])
def test_images_of_others_are_not_there(caller: Caller, path):
    image, never = photo(2), photo(3)
    caller.classify(image, advertiser="bob")
    etag = get(caller, image, path, "bob").headers["ETag"]
    hidden = get(caller, image, path)
    unknown = get(caller, never, path)
    assert (hidden.status_code, unknown.status_code) == (404, 404)
    assert hidden.json()["error"]["expected"] == unknown.json()["error"]["expected"]
    assert get(caller, image, path, headers={"If-None-Match": etag}).status_code == 404


def test_a_file_that_is_not_kept_any_more_is_gone_and_says_so(caller: Caller):
    image = photo(4)
    caller.classify(image)
    caller.http.app.state.parts.images.path(sha256(image)).unlink()
    for path in ("", "/thumbnail"):
        gone = get(caller, image, path)
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "image_expired")


def test_a_digest_that_is_none_is_refused(caller: Caller):
    answer = caller.http.get("/v1/images/..%2fservice.db", params={"advertiser": "ada"})
    assert answer.status_code in (404, 422)
    assert caller.http.get("/v1/images/abc", params={"advertiser": "ada"}).status_code == 422
