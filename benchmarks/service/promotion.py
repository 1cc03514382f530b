"""Promote another model and roll it back while requests come: none may fail, few may wait.

Clients ask in a closed loop: nine of ten requests are a picture whose answer is kept, one is a new
picture for the model. After a promotion, nothing is kept for the new model: the pictures are
asked of it again. Latencies are those of requests that were sent during the change, from its
request to the moment when a new answer names the other model, against those before it.
"""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import run
from sys import executable

import numpy as np

from augrank.errors import DataError
from augrank.reporting import Reporter
from benchmarks.common.http_client import OK, HttpEndpoint, Payload
from benchmarks.common.statistics import Median
from benchmarks.service.pictures import new_pictures
from benchmarks.service.server import RunningService, answered, upload

CLIENTS, NEW_EVERY = 4, 10  # of ten requests one is about a new picture
KNOWN, NEW = 32, 4000  # pictures
CALM_S = 10.0  # of load before each change


@dataclass
class PromotionMeasurement:
    """What came of requests during promotions and rollbacks."""

    requests: int = 0
    failed: int = 0
    promote_s: list[float] = field(default_factory=list)
    rollback_s: list[float] = field(default_factory=list)
    p99_ratio: list[float] = field(default_factory=list)  # during / before

    def figures(self) -> dict[str, Median]:
        """Return the figures for results.json."""
        return {
            "promotion_requests": Median.of([self.requests], 0),
            "promotion_failed": Median.of([self.failed], 0),
            "promotion_p99_ratio": Median.of(self.p99_ratio, 2),
            "promote_s": Median.of(self.promote_s, 2),
            "rollback_s": Median.of(self.rollback_s, 2),
        }


def measure_promotion(
    service: RunningService,
    folder: Path,
    candidate: Path,
    requests: int,
    reporter: Reporter,
) -> PromotionMeasurement:
    """Promote and roll back until there were enough requests.

    Args:
        service: serves another bundle.
        folder: of the service.
        candidate: bundle that is promoted.
        requests: at least so many in all.
        reporter: says what is being measured.
    """
    number, measured = _add(candidate, folder), PromotionMeasurement()
    load = _Load(service)
    load.start()
    try:
        while measured.requests < requests:
            reporter.say(f"promotion under load: {measured.requests:,} of {requests:,} requests")
            changes: tuple[tuple[str, dict[str, str], list[float]], ...] = (
                (f"/v1/models/{number}/promote", {}, measured.promote_s),
                ("/v1/models/rollback", {"task": "classify"}, measured.rollback_s),
            )
            for path, fields, seconds in changes:
                time.sleep(CALM_S)
                since = time.perf_counter()
                answered(service.http.post(path, json={**fields, "who": "benchmark"}))
                until = time.perf_counter()
                seconds.append(until - since)
                time.sleep(1)  # the first requests about the other model are part of the change
                before = load.latencies(since - CALM_S, since)
                during = load.latencies(since, until + 1)
                measured.p99_ratio.append(
                    float(np.percentile(during, 99) / np.percentile(before, 99))
                )
            measured.requests, measured.failed = load.counts()
    finally:
        load.stop()
    measured.requests, measured.failed = load.counts()
    return measured


def _add(candidate: Path, folder: Path) -> int:
    """Add a candidate as a user does; return its number."""
    command = [executable, "-m", "service", "models", "add", str(candidate)]
    done = run([*command, "--folder", str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise DataError("the candidate was not added", expected="a bundle", got=done.stderr[-500:])
    return int(done.stdout.split()[0])


class _Load:
    """Clients that ask until they are stopped."""

    def __init__(self, service: RunningService) -> None:
        self._endpoint = HttpEndpoint(f"{service.root}/v1/classify")
        self._known = [upload([each]) for each in new_pictures(KNOWN, seed=21)]
        self._new = [upload([each]) for each in new_pictures(NEW, seed=22, side=256)]
        self._rows: list[tuple[float, float, int]] = []  # sent at, seconds, status
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def latencies(self, since: float, until: float) -> list[float]:
        """Seconds of the requests that were sent in a time."""
        return [seconds for at, seconds, _ in list(self._rows) if since <= at < until]

    def counts(self) -> tuple[int, int]:
        """Requests, and those that failed."""
        rows = list(self._rows)
        return len(rows), sum(status != OK for _, _, status in rows)

    def _run(self, number: int) -> None:
        client, turn = self._endpoint.client(), number
        while not self._stopped.is_set():
            body = self._body(turn)
            sent = time.perf_counter()
            status, _ = client.post(body)
            self._rows.append((sent, time.perf_counter() - sent, status))
            turn += CLIENTS
        client.close()

    def _body(self, turn: int) -> Payload:
        if turn % NEW_EVERY == 0:
            return self._new[turn // NEW_EVERY % len(self._new)]
        return self._known[turn % len(self._known)]
