"""The readiness proxy in front of a small HTTP server, over real sockets."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest

from augrank.serving import readiness_proxy
from augrank.serving.readiness_proxy import QUIET_S, ReadinessProxy
from tests.support.patience import PATIENCE_S
from tests.support.servers import serving

LARGE = 25 * 1024 * 1024


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """Let a rejected client finish sending, however slow the machine is."""
    for name in ("HEAD_TIMEOUT_S", "LINGER_S"):
        monkeypatch.setattr(readiness_proxy, name, PATIENCE_S)


@dataclass
class Upstream:
    """The server's address, and events for its slow answer: requested, and released by the test."""

    address: tuple[str, int] = ("127.0.0.1", 9)
    asked: threading.Event = field(default_factory=threading.Event)
    answer: threading.Event = field(default_factory=threading.Event)


class Echo(BaseHTTPRequestHandler):
    """Echo the request; on ``/slow`` only after the test releases it."""

    protocol_version = "HTTP/1.1"
    upstream: Upstream

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("slow"):
            self.upstream.asked.set()
            self.upstream.answer.wait(PATIENCE_S)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    with serving(type("Handler", (Echo,), {"upstream": upstream})) as server:
        upstream.address = ("127.0.0.1", server.server_port)
        yield upstream
        upstream.answer.set()


class Running:
    """A proxy whose event loop runs in a thread."""

    def __init__(self) -> None:
        self.proxy, self.loop = ReadinessProxy(), asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.port = self.do(self.proxy.listen("127.0.0.1", 0))

    def begin(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def do(self, coroutine):
        return self.begin(coroutine).result(PATIENCE_S)

    def end(self) -> None:
        self.do(self.proxy.drain(1))
        self.do(self.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def close(self) -> None:
        """End what still waits for a client or the server."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def call(self, function, *arguments):
        async def called():
            function(*arguments)

        self.do(called())

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)


@contextmanager
def running() -> Iterator[Running]:
    proxy = Running()
    try:
        yield proxy
    finally:
        proxy.end()


def post(client: http.client.HTTPConnection, body: bytes, path: str = "/") -> tuple[int, bytes]:
    client.request("POST", path, body)
    response = client.getresponse()
    return response.status, response.read()


def test_a_closed_proxy_refuses_requests_and_an_open_one_forwards_them(upstream):
    with running() as proxy:
        status, body = post(proxy.client(), b"hello")
        assert status == 503
        assert json.loads(body)["error"]["code"] == "not_ready"
        assert post(proxy.client(), b"x" * LARGE)[0] == 503  # and reads what was sent
        proxy.call(proxy.proxy.open, upstream.address)
        kept = proxy.client()
        for _ in range(3):
            assert post(kept, b"hello") == (200, b"hello")
        large = bytes(range(256)) * (LARGE // 256)
        assert post(kept, large) == (200, large)
        time.sleep(QUIET_S + 0.1)  # a connection without an answer due is idle by then
        proxy.call(proxy.proxy.close)
        assert post(proxy.client(), b"hello")[0] == 503
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            post(kept, b"hello")  # a kept connection does not get past it


def test_draining_waits_for_the_answers_that_are_due(upstream):
    with running() as proxy:
        proxy.call(proxy.proxy.open, upstream.address)
        idle = proxy.client()
        assert post(idle, b"idle") == (200, b"idle")
        outcome = []
        asking = threading.Thread(
            target=lambda: outcome.append(post(proxy.client(), b"due", "/slow"))
        )
        asking.start()
        assert upstream.asked.wait(PATIENCE_S)
        draining = proxy.begin(proxy.proxy.drain(PATIENCE_S))
        with pytest.raises(TimeoutError):
            draining.result(QUIET_S + 0.2)  # the idle connection is closed; the other is waited for
        assert outcome == []
        upstream.answer.set()
        assert draining.result(PATIENCE_S / 2) is True  # well before its own time is over
        asking.join(PATIENCE_S)
        assert outcome == [(200, b"due")]
        with pytest.raises(ConnectionRefusedError):
            proxy.client().connect()


def test_draining_ends_in_time_where_an_answer_does_not_come(upstream):
    with running() as proxy:
        proxy.call(proxy.proxy.open, upstream.address)
        client = proxy.client()
        client.request("POST", "/slow", b"due")
        assert upstream.asked.wait(PATIENCE_S)
        assert proxy.do(proxy.proxy.drain(0.2)) is False
        client.close()
        upstream.answer.set()


def test_a_server_that_has_ended_is_reported_as_not_ready():
    with running() as proxy:
        proxy.call(proxy.proxy.open, ("127.0.0.1", 9))
        assert post(proxy.client(), b"hello")[0] == 503
