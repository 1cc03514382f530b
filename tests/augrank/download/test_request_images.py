"""Images that a request names by URL: what is fetched, and all that is refused."""

import time
from http.server import BaseHTTPRequestHandler

import pytest

from augrank.download.public_addresses import Guard
from augrank.download.request_images import RequestImages
from augrank.errors import ImageNotFetched
from augrank.images.decode import DecodeLimits
from tests.support.image_files import noise_jpeg
from tests.support.servers import serving

IMAGE = noise_jpeg(64)
LOCAL = Guard(allow_loopback=True)


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        if self.path.startswith("/image"):
            self._send(200, IMAGE, "image/jpeg")
        elif self.path == "/text":
            self._send(200, b"not an image", "image/jpeg")
        elif self.path == "/slow":
            time.sleep(1.5)
            self._send(200, IMAGE, "image/jpeg")
        elif self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            for _ in range(200):
                self.wfile.write(bytes(10_000))
        else:
            self._send(404, b"", "text/plain")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url():
    with serving(Handler) as server:
        yield server.url


def test_images_come_in_the_order_of_their_urls(url):
    fetch = RequestImages(guard=LOCAL)
    names = [f"{url}/image{n}" if n % 3 else f"{url}/missing{n}" for n in range(20)]
    found = fetch(names)
    assert [image == IMAGE for image in found] == [n % 3 > 0 for n in range(20)]
    assert "404 Not Found" in str(found[0])
    assert found[0].got == names[0]
    assert fetch([f"{url}/to/{url}/image"]) == (IMAGE,)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/text", "the bytes are not"),
        ("/endless", "larger than 500,000 bytes"),
        ("/to/http://10.0.0.1/x.jpg", "10.0.0.1, which is not a public address"),
        ("/to/file:///etc/passwd", "http or https"),
        ("/to/http://169.254.169.254/latest/meta-data", "not a public address"),
    ],
)
def test_what_must_not_or_cannot_be_fetched_says_why(url, path, why):
    fetch = RequestImages(DecodeLimits(size_bytes=500_000), LOCAL)
    (error,) = fetch([url + path])
    assert isinstance(error, ImageNotFetched)
    assert error.status == 422
    assert why in str(error)


@pytest.mark.parametrize(
    "name",
    ["http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x", "http://192.168.0.1/x",
     "http://metadata.internal./x", "ftp://example.com/x", "http://user:pw@example.com/x",
     "http://2130706433/x", "//x", ""],
)  # fmt: skip
def test_only_public_addresses_are_contacted(name):
    (error,) = RequestImages()([name])
    assert isinstance(error, ImageNotFetched)


def test_all_of_a_request_end_in_time(url):
    fetch, started = RequestImages(guard=LOCAL, total_s=0.5), time.monotonic()
    found = fetch([f"{url}/slow", f"{url}/image"])
    assert time.monotonic() - started < 1.4
    assert "not finished within 0.5 s" in str(found[0])
    assert found[1] == IMAGE
