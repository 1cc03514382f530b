"""Loads: their times with a clock that only the server advances, their requests over HTTP."""

import threading
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from benchmarks.common import load
from benchmarks.common.http_client import FAILED, OK, HttpClient, HttpEndpoint, Payload
from benchmarks.common.load import Replies, closed_loop, open_loop
from tests.support.patience import PATIENCE_S
from tests.support.servers import serving

BODIES = [Payload(b"a", {}), Payload(b"bb", {"X-Two": "2"})]
SERVICE_S = 0.03125  # a power of two: sums of it are exact


class VirtualServer:
    """A target and the clock of its load: a request takes SERVICE_S, and nothing else takes time.

    It suits one client, since the clock is not shared.
    """

    def __init__(self) -> None:
        self.now_s, self.bodies = 0.0, []

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def client(self):
        return self

    def post(self, body: Payload) -> tuple[int, bytes]:
        self.now_s += SERVICE_S
        self.bodies.append(body)
        return OK, b"{}"

    def close(self) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    made = VirtualServer()
    monkeypatch.setattr(load, "time", made)
    return made


class Held(BaseHTTPRequestHandler):
    """Answer nothing until ``full`` requests are in flight; refuse the body ``no``."""

    protocol_version = "HTTP/1.1"
    full = 1
    seen: list[bytes]
    in_flight: list[int]  # when each request had come
    lock: threading.Lock
    release: threading.Event

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            self.seen.append(data)
            self.in_flight.append(self.in_flight[-1] + 1)
            if self.in_flight[-1] == self.full:
                self.release.set()
        self.release.wait(PATIENCE_S)
        with self.lock:
            self.in_flight.append(self.in_flight[-1] - 1)
        self.send_response(503 if data == b"no" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def held():
    """A handler class without any recorded requests."""
    fresh = {"seen": [], "in_flight": [0], "lock": threading.Lock(), "release": threading.Event()}
    return type("Fresh", (Held,), fresh)


@pytest.fixture
def endpoint(held):
    with serving(held) as server:
        yield HttpEndpoint(f"{server.url}/x")


def test_rate_and_percentiles_are_of_answers():
    status = np.array([200, 503, 200, 200, 0])
    latency_ms = np.array([10.0, 1.0, 20.0, 30.0, 2.0])
    replies = Replies(np.zeros(5), latency_ms, status, elapsed_s=1.5)
    assert replies.ok.tolist() == [True, False, True, True, False]
    assert replies.rate == 2.0
    assert replies.percentile(0, 50, 100) == [10.0, 20.0, 30.0]


def test_the_closed_loop_finds_the_peak(server):
    replies = closed_loop(server, BODIES, clients=1, seconds=1.0)
    np.testing.assert_array_equal(replies.due_s, np.arange(32) * SERVICE_S)
    np.testing.assert_array_equal(replies.latency_ms, 1e3 * SERVICE_S)
    assert replies.elapsed_s == 1.0
    assert replies.rate == 32.0
    assert server.bodies == 16 * BODIES


def test_open_loop_latency_counts_from_the_intended_send_time(server):
    """At about three times the peak, requests queue: each waits for all before it."""
    replies = open_loop(server, BODIES, rate=100, seconds=1.0, seed=0, clients=1)
    free_s, want_ms = 0.0, []
    for due_s in replies.due_s:
        free_s = max(free_s, due_s) + SERVICE_S
        want_ms.append(1e3 * (free_s - due_s))
    np.testing.assert_allclose(replies.latency_ms, want_ms)
    assert len(replies.status) == 100
    assert replies.rate <= 32
    assert replies.latency_ms[-10:].mean() > 1500
    calm = open_loop(server, BODIES, rate=1, seconds=40.0, seed=0, clients=1)
    assert len(calm.status) == 40
    assert calm.percentile(50)[0] == pytest.approx(1e3 * SERVICE_S)
    assert calm.due_s[-1] == pytest.approx(40, rel=0.5)
    again = open_loop(server, BODIES, rate=1, seconds=40.0, seed=0, clients=1)
    np.testing.assert_allclose(calm.due_s, again.due_s)


def test_every_client_of_a_closed_loop_has_one_request_in_flight(endpoint, held):
    held.full = 3
    replies = closed_loop(endpoint, BODIES, clients=3, seconds=0.3)
    assert replies.ok.all()
    assert len(replies.status) == len(held.seen) >= 3
    assert max(held.in_flight) == 3
    assert {b"a", b"bb"} <= set(held.seen)


def test_an_open_loop_sends_regardless_of_earlier_requests(endpoint, held):
    """No request is answered before the last one has come."""
    held.full = 20
    replies = open_loop(endpoint, BODIES, rate=100, seconds=0.2, seed=0, clients=50)
    assert replies.ok.all()
    assert len(replies.status) == len(held.seen) == max(held.in_flight) == 20
    waited_s = replies.due_s[-1] - replies.due_s
    assert (replies.latency_ms >= 1e3 * waited_s).all()


def test_refusals_and_missing_responses_are_not_answers(endpoint):
    replies = closed_loop(endpoint, [Payload(b"no", {})], clients=1, seconds=0)
    assert replies.status.tolist() == [503]  # a client sends one, however short the load
    assert replies.rate == 0
    assert np.isnan(replies.percentile(50)[0])
    nobody = HttpClient(HttpEndpoint("http://127.0.0.1:9/x"))
    assert nobody.post(BODIES[0]) == (FAILED, b"")


@pytest.mark.parametrize("keeps", [True, False])
def test_a_client_keeps_its_connection_unless_the_server_ends_it(keeps):
    ports = []

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            ports.append(self.client_address[1])
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            if not keeps:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    with serving(Answer) as server:
        client = HttpClient(HttpEndpoint(f"{server.url}/x"))
        replies = [client.post(Payload(b"x", {})) for _ in range(3)]
        client.close()
    assert replies == [(200, b"{}")] * 3
    assert len(set(ports)) == (1 if keeps else 3)
