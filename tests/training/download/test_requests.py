"""Requests to a real server on loopback, which only the ``Guard`` of a test allows."""

import socket
import threading
import time

import pandas as pd
import pytest

import training.download.run as job
from augrank.download.fetch import SUFFIXES
from augrank.download.public_addresses import Guard
from augrank.errors import DataError
from augrank.images.decode import DecodeLimits, encode
from tests.support.patience import PATIENCE_S
from tests.support.shapes import draw
from tests.training.download.site import file_of, reasons, records, reply


def test_broken_urls_are_listed_with_their_reasons(site, fetch, tmp_path):
    good = site.image("/good", 3)
    whole = site.answers["/good"]
    sent = 0

    def endless(handler, _):
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            sent += handler.wfile.write(bytes(50_000))

    urls = [
        good,
        site.answer("/gone", lambda h, _: reply(h, 410)),
        site.answer("/page", lambda h, _: reply(h, 200, b"<html>", Content_Type="text/html")),
        site.answer("/cut", whole[: len(whole) // 2]),
        site.answer("/large", lambda h, _: reply(h, 200, b"", Content_Length=10**12)),
        site.answer("/endless", endless),
        site.answer("/zipped", lambda h, _: reply(h, 200, whole, Content_Encoding="gzip")),
        site.answer("/loop", lambda h, _: reply(h, 302, Location="/loop")),
        site.answer("/ftp", lambda h, _: reply(h, 302, Location="ftp://example.com/a.png")),
        "http://user:pass@example.com/secret",
        "nonsense",
        site.image("/pixels"),
    ]
    site.answers["/pixels"] = encode(draw(0, side=300))
    limits = DecodeLimits(size_bytes=100_000, side=200)
    done = fetch(urls, limits=limits)
    why = reasons(done)
    assert done.images == 1
    assert why.pop("gone") == "HTTP 410 Gone"
    assert why.pop("page") == (
        "the bytes are not an image that can be read: expected a JPEG, PNG, WEBP, GIF, AVIF, "
        "BMP or TIFF file, got HTML, 'text/html'"
    )
    assert why.pop("cut").startswith("the PNG file is damaged or truncated")
    assert why.pop("large") == why.pop("endless") == "the file is larger than 100,000 bytes"
    assert why.pop("zipped").startswith("the response is compressed")
    assert why.pop("loop") == "more than 5 redirects"
    assert why.pop("ftp") == "expected a URL of http or https, got ftp"
    assert why.pop("secret").startswith("the URL contains a user name or password")
    assert why.pop("nonsense") == "expected a URL of http or https, got no scheme"
    assert why.pop("pixels").startswith("the image has too many pixels")
    assert why == {}
    assert {row.state for row in done.left_out} == {"broken"}
    assert sent < 20_000_000  # no more than buffers hold, of 100 MB
    assert site.count("/loop") == 6

    before = sum(map(len, site.asked.values()))
    site.image("/gone", 1)
    again = fetch(urls, limits=limits)
    assert sum(map(len, site.asked.values())) == before  # no finished or broken URLs again
    assert (again.images, again.existing) == (1, 1)
    anew = fetch(urls, limits=limits, retry_broken=True)
    assert site.count("/good") == 1
    assert (anew.images, anew.existing) == (2, 1)
    assert records(tmp_path / "out")["gone"].tries == 2


def test_redirects_are_followed_but_not_to_private_addresses(site, fetch):
    site.image("/a", 1)
    moved = site.answer("/moved", lambda h, _: reply(h, 301, Location="/a"))
    inside = [
        site.answer(f"/to{number}", lambda h, _, to=to: reply(h, 302, Location=to))
        for number, to in enumerate(
            ["http://10.0.0.1/a", "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest"]
        )
    ]
    done = fetch([moved, *inside])
    assert (done.manifest.parent / file_of(moved)).read_bytes() == site.answers["/a"]
    assert reasons(done) == {
        "to0": "10.0.0.1 is not a public address",
        "to1": "::ffff:10.0.0.1 is not a public address",
        "to2": "169.254.169.254 is not a public address",
    }


def test_redirects_of_old_servers_are_followed(site, fetch):
    site.image("/gr%F6%DFe", 1)
    old = site.answer("/old", lambda h, _: reply(h, 302, Location="/gr\xf6\xdfe"))
    site.answers["/gr%C3%B6%C3%9Fe"] = site.answers["/gr%F6%DFe"]
    port = site.server.server_port
    hostless = site.answer("/hostless", lambda h, _: reply(h, 302, Location=f"http:///a?{port}"))
    done = fetch([old, hostless])
    assert (done.manifest.parent / file_of(old)).read_bytes() == site.answers["/gr%F6%DFe"]
    assert "redirects to no address" not in reasons(done)["hostless"]


def test_private_addresses_are_refused_without_a_request(site, fetch, tmp_path):
    site.image("/a")
    port = site.server.server_port
    hosts = ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1")
    with pytest.raises(DataError, match=r"none of the images of .* could be downloaded"):
        fetch([f"http://{host}:{port}/a" for host in hosts], guard=Guard())
    assert site.asked == {}
    table = pd.read_csv(tmp_path / "out/broken.csv")
    assert table["state"].tolist() == ["broken"] * len(hosts)
    assert table["reason"].str.contains("not a public address|not a URL").all()
    assert not (tmp_path / "out/manifest.csv").exists()


def test_a_download_refuses_a_name_with_a_private_address(site, fetch, monkeypatch):
    found = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", site.server.server_port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    with pytest.raises(DataError, match=r"images\.example is at 127\.0\.0\.1, which is not"):
        fetch([f"http://images.example:{site.server.server_port}/a"], guard=Guard())
    assert site.asked == {}


def test_failures_are_tried_again_at_growing_intervals(site, fetch, tmp_path):
    image = encode(draw(1))

    def busy(handler, time_asked):
        reply(handler, 503 if time_asked < 3 else 200, image)

    def cut(handler, time_asked):
        handler.close_connection = True
        reply(handler, 200, image, Content_Length=len(image) + (time_asked < 2))

    urls = [site.answer("/busy", busy), site.answer("/cut", cut)]
    done = fetch(urls, backoff_s=0.2)
    assert done.images == 2
    first, second, third = site.asked["/busy"]
    assert second - first > 0.1  # at least half: the rest is random
    assert third - second > 0.2
    assert {name: record.tries for name, record in records(tmp_path / "out").items()} == {
        "busy": 3,
        "cut": 2,
    }


def test_tries_are_bounded_and_the_next_call_tries_again(site, fetch, tmp_path):
    site.answer("/busy", lambda h, _: reply(h, 500))
    with socket.socket() as unused:  # bound, so that nobody else listens there
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/dead"
        urls = [site.image("/a"), site.root + "/busy", dead]
        done = fetch(urls)
    assert {row.state for row in done.left_out} == {"failed"}
    assert reasons(done)["busy"] == "HTTP 500 Internal Server Error"
    assert reasons(done)["dead"].startswith("the connection to 127.0.0.1 failed")
    assert [row.tries for row in done.left_out] == [3, 3]

    site.image("/busy", 2)
    again = fetch(urls[:2])
    assert (again.images, again.existing) == (2, 1)
    assert records(tmp_path / "out")["busy"].tries == 4


def test_requests_that_do_not_end_in_time_are_tried_again(site, fetch, tmp_path, monkeypatch):
    late, open_client = threading.Event(), job.open_client
    monkeypatch.setattr(  # so that the reason is the request's limit, not the socket's
        job, "open_client", lambda *a, **named: open_client(*a, **{**named, "timeout_s": 60})
    )
    urls = [site.image("/a"), site.answer("/slow", lambda h, _: late.wait(PATIENCE_S))]
    fetch(urls[:1])
    try:
        done, again = (fetch(urls, timeout_s=0.5) for _ in range(2))
    finally:
        late.set()
    assert reasons(done) == reasons(again) == {"slow": "not finished within 0.5 s"}
    assert [(row.state, row.tries) for row in done.left_out] == [("failed", 3)]
    assert (again.images, again.existing) == (1, 1)
    assert records(tmp_path / "out")["slow"].tries == 6


def test_retry_after_holds_the_whole_host(site, fetch):
    image = encode(draw(1))

    def busy(handler, time_asked):
        if time_asked == 1:
            reply(handler, 429, Retry_After=1)
        else:
            reply(handler, 200, image)

    urls = [site.answer("/busy", busy), *(site.image(f"/{n}", n) for n in range(3))]
    done = fetch(urls, connections=1)
    assert done.images == 4
    first, second = site.asked["/busy"]
    assert second - first >= 1
    assert min(site.asked[f"/{n}"][0] for n in range(3)) - first >= 1


def test_a_host_with_a_long_retry_after_is_left_for_the_next_call(site, fetch):
    first = site.image("/first")
    busy = site.answer("/busy", lambda h, _: reply(h, 429, Retry_After=7200))
    done = fetch([first, busy, *(site.image(f"/{n}", n) for n in range(3))], connections=1)
    assert reasons(done)["busy"] == "HTTP 429 Too Many Requests"
    assert reasons(done)["2"] == "the host requests a wait of 7,200 s"
    assert [row.tries for row in done.left_out] == [1, 0, 0, 0]
    assert site.count("/0") == 0


def test_a_host_that_is_down_is_left_for_the_next_call(site, fetch, monkeypatch):
    monkeypatch.setattr(job, "HOST_FAILURES", 4)
    first = site.image("/first")
    down = [site.answer(f"/{n}", lambda h, _: reply(h, 502)) for n in range(20)]
    done = fetch([first, *down], connections=1)
    assert sum(map(len, site.asked.values())) == 5
    assert len(done.left_out) == 20
    assert reasons(done)["19"] == "the host failed 4 times in a row: HTTP 502 Bad Gateway"


def test_requests_to_a_host_keep_its_rate_limit(site, fetch, monkeypatch):
    rates = []
    queue = job.RateLimitedQueue
    monkeypatch.setattr(
        job, "RateLimitedQueue", lambda per_host: rates.append(per_host) or queue(per_host)
    )
    start = time.monotonic()
    done = fetch([site.image(f"/{n}", n) for n in range(8)], per_host=20)
    assert done.images == 8
    assert rates == [20]  # test_scheduler checks that it is no slower
    assert max(times[0] for times in site.asked.values()) - start >= 7 / 20


def test_requests_name_the_client_and_send_no_cookies(site, fetch, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # would fail if it were used
    image = encode(draw(1))
    urls = [
        site.answer(f"/{n}", lambda h, _: reply(h, 200, image, Set_Cookie="id=7; Path=/"))
        for n in range(2)
    ]
    fetch(urls, connections=1, contact="me@example.com")
    for headers in site.headers:
        assert headers["User-Agent"] == "augrank/0.1.0 (images for training; me@example.com)"
        assert headers["Cookie"] is None
        assert headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("file_format", ["AVIF", "BMP", "TIFF"])
def test_every_format_that_is_decoded_is_kept(site, fetch, file_format, tmp_path):
    done = fetch([site.image("/odd", 0, file_format)])
    assert done.images == 1
    (file,) = [path for path in (tmp_path / "out").rglob("*") if path.suffix in SUFFIXES.values()]
    assert file.suffix == SUFFIXES[file_format]
