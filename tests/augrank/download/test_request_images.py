"""Images that a request names by URL: what is fetched, and all that is refused."""

import asyncio
import socket
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from augrank.download import fetch as fetching
from augrank.download import request_images
from augrank.download.public_addresses import Guard
from augrank.download.request_images import RequestImages
from augrank.errors import ImageNotFetched
from augrank.images.decode import DecodeLimits
from tests.support.image_files import noise_jpeg
from tests.support.patience import PATIENCE_S
from tests.support.servers import serving

IMAGE = noise_jpeg(64)
LOCAL = Guard(allow_loopback=True)


class Handler(BaseHTTPRequestHandler):
    """Answers by path, ``/slow`` only after the test releases it."""

    release = threading.Event()

    def do_GET(self) -> None:
        if self.path.startswith("/image"):
            self._send(200, IMAGE, "image/jpeg")
        elif self.path == "/text":
            self._send(200, b"not an image", "image/jpeg")
        elif self.path == "/slow":
            self.release.wait(PATIENCE_S)
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


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Let requests end however slow the machine is."""
    monkeypatch.setattr(request_images, "TIMEOUT_S", PATIENCE_S)
    for name in ("CONNECT_S", "READ_S"):
        monkeypatch.setattr(fetching, name, PATIENCE_S)


@pytest.fixture(scope="module")
def url():
    with serving(Handler) as server:
        yield server.url


def test_images_come_in_the_order_of_their_urls(url):
    fetch = RequestImages(guard=LOCAL, total_s=PATIENCE_S)
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
        ("/to/http://10.0.0.1/x.jpg", "10.0.0.1 is not a public address"),
        ("/to/file:///etc/passwd", "http or https"),
        ("/to/http://169.254.169.254/latest/meta-data", "not a public address"),
    ],
)
def test_what_must_not_or_cannot_be_fetched_says_why(url, path, why):
    fetch = RequestImages(DecodeLimits(size_bytes=500_000), LOCAL, PATIENCE_S)
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


def test_all_of_a_request_end_in_time(url, monkeypatch):
    """The time is over when ``/image`` has come: no clock decides it."""
    wait, release, timeouts = asyncio.wait, threading.Event(), []

    def until_one_has_come(tasks, *, timeout):
        timeouts.append(timeout)
        return wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    monkeypatch.setattr(Handler, "release", release)
    monkeypatch.setattr(request_images.asyncio, "wait", until_one_has_come)
    try:
        found = RequestImages(guard=LOCAL, total_s=0.5)([f"{url}/slow", f"{url}/image"])
    finally:
        release.set()
    assert timeouts == [0.5]
    assert "not finished within 0.5 s" in str(found[0])
    assert found[1] == IMAGE


def _until_time_is_over(monkeypatch, began: threading.Event) -> None:
    """Let the time of a call be over as soon as something has begun: no clock decides it."""
    wait = asyncio.wait

    async def until_begun(tasks, *, timeout):
        del timeout
        while not began.is_set():
            await asyncio.sleep(0.001)
        return await wait(tasks, timeout=0)

    monkeypatch.setattr(request_images.asyncio, "wait", until_begun)


@pytest.mark.parametrize("blocked", ["look-up", "decode"])
def test_an_answer_waits_for_no_look_up_and_no_decoder(url, monkeypatch, blocked):
    began, release, ended = (threading.Event() for _ in range(3))

    def block(*_, **__):
        began.set()
        release.wait(20)  # where the answer waits for it, the test fails after this
        ended.set()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    if blocked == "look-up":
        url = url.replace("127.0.0.1", "localhost")
        monkeypatch.setattr(socket, "getaddrinfo", block)
    else:
        monkeypatch.setattr(fetching, "decode", block)
    _until_time_is_over(monkeypatch, began)
    try:
        (error,) = RequestImages(guard=LOCAL)([f"{url}/image"])
        assert not ended.is_set()
    finally:
        release.set()
    assert "not finished within 15 s for all images" in str(error)
    assert ended.wait(PATIENCE_S)


def test_requests_of_a_batch_do_not_wait_for_each_other(url, monkeypatch):
    """All connections of one request are held by a slow host; the other's images come."""
    release, come = threading.Event(), threading.Event()
    slow = [f"{url}/slow"] * (2 * request_images.CONNECTIONS)
    monkeypatch.setattr(Handler, "release", release)
    fetch_one = request_images._fetched
    left = [f"{url}/image{number}" for number in range(12)]

    async def fetched(fetcher, slots, name):
        outcome = await fetch_one(fetcher, slots, name)
        quick.discard(name)
        if not quick:
            come.set()
        return outcome

    quick = set(left)
    monkeypatch.setattr(request_images, "_fetched", fetched)
    _until_time_is_over(monkeypatch, come)
    try:
        late, found = RequestImages(guard=LOCAL).of_batch([slow, left])
    finally:
        release.set()
    assert found == (IMAGE,) * len(left)
    assert all("not finished within 15 s" in str(error) for error in late)
    assert len(late) == len(slow)


def test_the_images_of_a_request_have_a_size_together(url, monkeypatch):
    monkeypatch.setattr(request_images, "FULL_SIZE", 2)
    monkeypatch.setattr(request_images, "CONNECTIONS", 1)
    fetch = RequestImages(DecodeLimits(size_bytes=len(IMAGE)), LOCAL, PATIENCE_S)
    names = [f"{url}/image{number}" for number in range(4)]
    for found in fetch.of_batch([names, names]):
        assert found[:2] == (IMAGE, IMAGE)
        for error in found[2:]:
            assert f"the images have more than {2 * len(IMAGE):,} bytes together" in str(error)


def test_a_fault_is_of_its_own_url(url, monkeypatch):
    fetch = fetching.Fetcher.fetch

    async def faulty(fetcher, name):
        if name.endswith("1"):
            raise RuntimeError("a fault")
        return await fetch(fetcher, name)

    monkeypatch.setattr(fetching.Fetcher, "fetch", faulty)
    first, second = RequestImages(guard=LOCAL, total_s=PATIENCE_S)(
        [f"{url}/image1", f"{url}/image2"]
    )
    assert "could not be downloaded: internal error" in str(first)
    assert second == IMAGE
