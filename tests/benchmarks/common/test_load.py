import threading
import time
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from benchmarks.common.http_client import FAILED, HttpClient, HttpEndpoint, Payload
from benchmarks.common.load import closed_loop, open_loop
from tests.support.servers import serving

BODIES = [Payload(b"a", {}), Payload(b"bb", {"X-Two": "2"})]


class Slow(BaseHTTPRequestHandler):
    """Answer one request at a time, each in 20 ms; refuse the body ``no``."""

    protocol_version = "HTTP/1.1"
    lock = threading.Lock()
    seen: list[bytes] = []  # noqa: RUF012
    took_ms: list[float] = []  # noqa: RUF012 - longer than it should on a busy machine

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            start = time.perf_counter()
            self.seen.append(data)
            time.sleep(0.02)
            self.took_ms.append(1e3 * (time.perf_counter() - start))
        self.send_response(503 if data == b"no" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def slow():
    """A handler class without any recorded requests."""
    return type("Fresh", (Slow,), {"seen": [], "took_ms": [], "lock": threading.Lock()})


@pytest.fixture
def endpoint(slow):
    with serving(slow) as server:
        yield HttpEndpoint(f"{server.url}/x")


def test_the_closed_loop_finds_the_peak(endpoint, slow):
    replies = closed_loop(endpoint, BODIES, clients=3, seconds=1.0)
    assert replies.ok.all()
    assert len(replies.status) == len(slow.seen)
    took_ms = float(np.median(slow.took_ms))
    assert 0.6 * 1e3 / took_ms < replies.rate < 50.5
    assert replies.percentile(50)[0] == pytest.approx(3 * took_ms, rel=0.4)
    assert {b"a", b"bb"} <= set(slow.seen)


def test_open_loop_latency_counts_from_the_intended_send_time(endpoint, slow):
    """At twice the peak, requests queue: the last wait for about half of the load's duration."""
    replies = open_loop(endpoint, BODIES, rate=100, seconds=1.0, seed=0, clients=100)
    assert len(replies.status) == 100
    assert replies.rate < 50.5
    assert replies.latency_ms[-10:].mean() > 600
    slow.took_ms.clear()
    calm = open_loop(endpoint, BODIES, rate=10, seconds=1.0, seed=0, clients=100)
    assert calm.percentile(50)[0] < 3 * np.median(slow.took_ms)
    again = open_loop(endpoint, BODIES, rate=10, seconds=1.0, seed=0, clients=100)
    np.testing.assert_allclose(calm.due_s, again.due_s)


def test_refusals_and_missing_responses_are_not_answers(endpoint):
    replies = closed_loop(endpoint, [Payload(b"no", {})], clients=1, seconds=0.1)
    assert set(replies.status) == {503}
    assert replies.rate == 0
    assert np.isnan(replies.percentile(50)[0])
    nobody = HttpClient(HttpEndpoint("http://127.0.0.1:9/x"))
    assert nobody.post(BODIES[0]) == (FAILED, b"")
