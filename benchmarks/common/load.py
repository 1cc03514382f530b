"""Clients of an HTTP endpoint: closed loop for its peak, open loop for its latency under load.

Kept-alive sockets on threads, answers parsed by httptools: a client takes little of the cores that
it shares with the server.

In the open loop requests are due at times drawn beforehand (Poisson arrivals) and a latency counts
from when its request was due, not from when a client got round to sending it: a server that stalls
cannot hide the requests it kept from being sent ("coordinated omission").
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import httptools
import numpy as np
from numpy.typing import NDArray

TIMEOUT_S, RECEIVED_BYTES = 60.0, 65_536
OK, FAILED = 200, 0  # FAILED: no answer at all


@dataclass(frozen=True)
class Body:
    """One request, ready to be sent."""

    data: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """Where to post, and what an answer says."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    # An answer's bytes to the Answer's JSON object; some servers wrap it.
    unwrap: Callable[[bytes], dict[str, Any]] = json.loads

    def client(self) -> "Client":
        """A connection of its own."""
        return Client(self)


class Asks(Protocol):
    """A client: sends a request and waits for its answer."""

    def post(self, body: Body) -> tuple[int, bytes]:
        """Status and content; FAILED and nothing where no answer came."""

    def close(self) -> None:
        """Close what it holds open."""


class Target(Protocol):
    """What a load is put on."""

    def client(self) -> Asks:
        """A client of its own for each thread."""


@dataclass(frozen=True)
class Replies:
    """What came back, in order of sending; arrays (N,)."""

    due_s: NDArray[np.float64]  # since the load's start
    latency_ms: NDArray[np.float64]
    status: NDArray[np.int64]
    elapsed_s: float  # from the first request due to the last answer

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which were answered."""
        return np.asarray(self.status == OK)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return float(self.ok.sum()) / self.elapsed_s

    def percentile(self, *percents: float) -> list[float]:
        """Of the latencies of those answered, ms."""
        answered = self.latency_ms[self.ok]
        if not len(answered):
            return [float("nan")] * len(percents)
        return [float(value) for value in np.percentile(answered, percents)]


class Client:
    """One connection, opened again where the server has closed it.

    A request is sent as the bytes it consists of and the answer is parsed in C, so that the client
    takes as little as can be from the cores that it shares with the server.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        self._address = (parts.hostname or "", parts.port or 80)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, **endpoint.headers}
        self._start = f"POST {path} HTTP/1.1\r\n" + _lines(headers)
        self._socket: socket.socket | None = None

    def post(self, body: Body) -> tuple[int, bytes]:
        """Status and content; FAILED and nothing where no answer came."""
        head = self._start + _lines({**body.headers, "Content-Length": str(len(body.data))})
        message = head.encode() + b"\r\n" + body.data
        for _ in range(2):  # a kept connection may have been closed meanwhile
            fresh = self._socket is None
            try:
                return self._exchange(message)
            except (OSError, httptools.HttpParserError):
                self.close()
                if fresh:
                    break
        return FAILED, b""

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _exchange(self, message: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, TIMEOUT_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(message)
        reply = _Reply()
        parser = httptools.HttpResponseParser(reply)
        while not reply.complete:
            received = self._socket.recv(RECEIVED_BYTES)
            if not received:
                raise ConnectionResetError
            parser.feed_data(received)
        if not parser.should_keep_alive():
            self.close()
        return parser.get_status_code(), b"".join(reply.parts)


class _Reply:
    """What httptools has parsed so far."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = False

    def on_body(self, part: bytes) -> None:
        """Part of the content."""
        self.parts.append(part)

    def on_message_complete(self) -> None:
        """All of it."""
        self.complete = True


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def closed_loop(
    endpoint: Target, bodies: Sequence[Body], *, clients: int, seconds: float
) -> Replies:
    """Each client sends its next request when it has its answer, for about ``seconds``."""
    record = _Record()
    start = time.perf_counter()

    def run(number: int) -> None:
        client, turn = endpoint.client(), number
        while time.perf_counter() - start < seconds:
            sent = time.perf_counter()
            status, _ = client.post(bodies[turn % len(bodies)])
            record.add(sent - start, sent, status)
            turn += clients
        client.close()

    _on_threads(run, clients)
    return record.replies()


def open_loop(
    endpoint: Target,
    bodies: Sequence[Body],
    *,
    rate: float,
    seconds: float,
    seed: int,
    clients: int,
) -> Replies:
    """Requests at Poisson times, whatever becomes of those before.

    Args:
        endpoint: where to.
        bodies: sent in turn.
        rate: mean arrivals per second.
        seconds: how long.
        seed: of the arrival times.
        clients: connections; more than the server takes at once, so that it is its queue that
            refuses, and not the want of a client.
    """
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, size=max(1, round(rate * seconds)))
    due = np.cumsum(gaps)
    record, turns = _Record(), iter(range(len(due)))
    lock = threading.Lock()
    start = time.perf_counter()

    def run(_: int) -> None:
        client = endpoint.client()
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                break
            wait = start + due[turn] - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            status, _content = client.post(bodies[turn % len(bodies)])
            record.add(float(due[turn]), start + due[turn], status)
        client.close()

    _on_threads(run, min(clients, len(due)))
    return record.replies()


class _Record:
    """Collects replies from threads; appending to a list is atomic."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, int]] = []

    def add(self, due_s: float, since: float, status: int) -> None:
        """One reply, at the moment it came; ``since`` on the clock of perf_counter."""
        self._rows.append((due_s, 1e3 * (time.perf_counter() - since), status))

    def replies(self) -> Replies:
        rows = np.array(sorted(self._rows), np.float64).reshape(-1, 3)
        ends = rows[:, 0] + rows[:, 1] / 1e3
        elapsed = float(ends.max() - rows[:, 0].min()) if len(rows) else 0.0
        return Replies(rows[:, 0], rows[:, 1], rows[:, 2].astype(np.int64), elapsed)


def _on_threads(run: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
