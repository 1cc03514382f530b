"""Send hostile requests to a server on this machine, beside a neighbour whose answers are known."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from augrank.errors import ServerError
from augrank.reporting import Advance
from augrank.serving.server import Server
from benchmarks.common.http_client import FAILED, OK, HttpClient, HttpEndpoint, Payload
from benchmarks.common.workers import worker_processes
from benchmarks.hostile.requests import HostileRequests

NEIGHBOUR_PAUSE_S = 0.05
EXAMPLES = 5  # requests shown of each fault
_TIMINGS = "timings_ms"


@dataclass
class HostileFigures:
    """What happened; thread-safe through its lock."""

    statuses: Counter[int] = field(default_factory=Counter)
    own_errors: list[int] = field(default_factory=list)  # numbers of requests: 5xx of augrank's
    server_errors: list[int] = field(default_factory=list)  # 5xx of TorchServe's own
    no_answers: list[int] = field(default_factory=list)
    neighbour_answers: int = 0
    neighbour_faults: int = 0  # answers other than the first
    worker_deaths: int = 0
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def passed(self) -> bool:
        """Whether the server did as it should."""
        faults = self.own_errors or self.no_answers or self.worker_deaths or self.neighbour_faults
        return self.neighbour_answers > 0 and not faults

    def plain(self) -> dict[str, Any]:
        """Return the figures as plain data; of each fault, the numbers of some requests."""
        return {
            "requests": sum(self.statuses.values()),
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "own_errors": len(self.own_errors),
            "server_errors": len(self.server_errors),
            "no_answers": len(self.no_answers),
            "worker_deaths": self.worker_deaths,
            "neighbour_answers": self.neighbour_answers,
            "neighbour_faults": self.neighbour_faults,
            "examples": {
                "own_errors": self.own_errors[:EXAMPLES],
                "server_errors": self.server_errors[:EXAMPLES],
                "no_answers": self.no_answers[:EXAMPLES],
            },
            "seconds": round(self.seconds, 1),
        }

    def add(self, number: int, status: int, body: bytes) -> None:
        """Count one answer."""
        with self._lock:
            self.statuses[status] += 1
            if status == FAILED:
                self.no_answers.append(number)
            elif status >= 500 and not queue_is_full(status, body):
                (self.own_errors if _is_ours(body) else self.server_errors).append(number)


def queue_is_full(status: int, body: bytes) -> bool:
    """Return whether TorchServe refused a request because too many are waiting."""
    return status == 503 and b"ServiceUnavailableException" in body


def _is_ours(body: bytes) -> bool:
    """Return whether an error is augrank's, and not TorchServe's own.

    An exception that leaves the handler becomes TorchServe's 503, "Prediction failed".
    """
    try:
        content = json.loads(body)
        return "error" in content or "Prediction failed" in str(content.get("message"))
    except (ValueError, TypeError, AttributeError):
        return b"Prediction failed" in body


@dataclass(frozen=True)
class Extent:
    """How much is sent."""

    requests: int
    connections: int  # at a time
    max_seconds: float  # no request begins later


def attack(
    server: Server, made: HostileRequests, good: Payload, extent: Extent, advance: Advance
) -> HostileFigures:
    """Send requests, and ask a good one beside them all the time.

    Args:
        server: ready, on loopback.
        made: the hostile requests.
        good: a request that is always answered alike.
        extent: how much is sent.
        advance: called after each request.
    """
    figures, endpoint = HostileFigures(), HttpEndpoint(server.url, server.headers)
    before, started = _workers(server), time.monotonic()
    numbers, lock = iter(range(extent.requests)), threading.Lock()

    def send() -> None:
        client = HttpClient(endpoint)
        while time.monotonic() - started < extent.max_seconds:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            figures.add(number, *client.post(made.make(number)))
            advance(1)
        client.close()

    with _neighbour(endpoint, good, figures), ThreadPoolExecutor(extent.connections) as pool:
        for done in [pool.submit(send) for _ in range(extent.connections)]:
            done.result()
    figures.worker_deaths = len(before - _workers(server))
    figures.seconds = time.monotonic() - started
    return figures


@contextmanager
def _neighbour(endpoint: HttpEndpoint, good: Payload, figures: HostileFigures) -> Iterator[None]:
    """Ask the good request again and again during the block, and compare the answers."""
    over = threading.Event()
    client = HttpClient(endpoint)
    first = _without_time(*client.post(good))
    if first[0] != OK:
        raise ServerError(f"the good request is not answered: {first}")

    def ask() -> None:
        while not over.wait(NEIGHBOUR_PAUSE_S):
            status, body = client.post(good)
            if queue_is_full(status, body):
                continue
            figures.neighbour_answers += 1
            figures.neighbour_faults += _without_time(status, body) != first

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        client.close()


def _without_time(status: int, body: bytes) -> tuple[int, object]:
    if status != OK:
        return status, body
    answer = json.loads(body)
    answer.pop(_TIMINGS, None)
    return status, answer


def _workers(server: Server) -> set[int]:
    """Return the process ids of the server's Python workers."""
    return {each.pid for each in worker_processes(server.torchserve.process.pid)}
