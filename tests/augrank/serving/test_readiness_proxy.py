"""The readiness proxy before a real (small) HTTP server, over real sockets."""

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from augrank.serving.readiness_proxy import ReadinessProxy

LARGE = 25 * 1024 * 1024


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, after ``?slow`` only in a while."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("slow"):
            time.sleep(0.6)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def upstream() -> Iterator[tuple[str, int]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield ("127.0.0.1", server.server_port)
    server.shutdown()
    server.server_close()


class Running:
    """A proxy in a thread of its own, told what to do from here."""

    def __init__(self) -> None:
        self.proxy, self.loop = ReadinessProxy(), asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.port = self.do(self.proxy.listen("127.0.0.1", 0))

    def do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def call(self, function, *arguments):
        async def called():
            function(*arguments)

        self.do(called())

    def client(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)


@contextmanager
def running() -> Iterator[Running]:
    proxy = Running()
    yield proxy
    proxy.do(proxy.proxy.drain(1))
    proxy.loop.call_soon_threadsafe(proxy.loop.stop)


def post(client: http.client.HTTPConnection, body: bytes, path: str = "/") -> tuple[int, bytes]:
    client.request("POST", path, body)
    response = client.getresponse()
    return response.status, response.read()


def test_shut_it_refuses_open_it_passes_on_and_shut_again_it_refuses(upstream):
    with running() as proxy:
        status, body = post(proxy.client(), b"hello")
        assert status == 503
        assert json.loads(body)["error"]["code"] == "not_ready"
        assert post(proxy.client(), b"x" * LARGE)[0] == 503  # and reads what was sent
        proxy.call(proxy.proxy.open, upstream)
        kept = proxy.client()
        for _ in range(3):
            assert post(kept, b"hello") == (200, b"hello")
        large = bytes(range(256)) * (LARGE // 256)
        assert post(kept, large) == (200, large)
        time.sleep(0.4)
        proxy.call(proxy.proxy.close)
        assert post(proxy.client(), b"hello")[0] == 503
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            post(kept, b"hello")  # a kept connection does not get past it


def test_draining_waits_for_the_answers_that_are_due(upstream):
    with running() as proxy:
        proxy.call(proxy.proxy.open, upstream)
        idle = proxy.client()
        assert post(idle, b"idle") == (200, b"idle")
        outcome = []
        asking = threading.Thread(
            target=lambda: outcome.append(post(proxy.client(), b"due", "/slow"))
        )
        asking.start()
        time.sleep(0.2)
        started = time.monotonic()
        assert proxy.do(proxy.proxy.drain(5)) is True
        assert 0.2 < time.monotonic() - started < 3
        asking.join(5)
        assert outcome == [(200, b"due")]
        with pytest.raises(ConnectionRefusedError):
            proxy.client().connect()


def test_draining_ends_in_time_where_an_answer_does_not_come(upstream):
    with running() as proxy:
        proxy.call(proxy.proxy.open, upstream)
        client = proxy.client()
        client.request("POST", "/slow", b"due")
        time.sleep(0.1)
        assert proxy.do(proxy.proxy.drain(0.2)) is False


def test_a_server_that_is_gone_is_told_as_not_ready():
    with running() as proxy:
        proxy.call(proxy.proxy.open, ("127.0.0.1", 9))
        assert post(proxy.client(), b"hello")[0] == 503
