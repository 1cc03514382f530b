"""Load generators: a closed loop for peak throughput, an open loop for latency under load.

In the open loop, send times are drawn in advance (Poisson arrivals), and a request's latency is
measured from its intended send time, not from when a client was free to send it. Therefore a server
that stalls cannot hide the requests that it delayed ("coordinated omission").
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.http_client import OK, LoadTarget, Payload


@dataclass(frozen=True)
class Replies:
    """The responses of one load, in order of their send times; arrays (N,)."""

    due_s: NDArray[np.float64]  # intended send time, since the start of the load
    latency_ms: NDArray[np.float64]
    status: NDArray[np.int64]
    elapsed_s: float  # from the first intended send time to the last response

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which requests were answered, bool (N,)."""
        return np.asarray(self.status == OK)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return float(self.ok.sum()) / self.elapsed_s

    def percentile(self, *percents: float) -> list[float]:
        """Percentiles of the latency of answered requests, ms; NaN if there are none."""
        answered = self.latency_ms[self.ok]
        if not len(answered):
            return [float("nan")] * len(percents)
        return [float(value) for value in np.percentile(answered, percents)]


def closed_loop(
    target: LoadTarget, bodies: Sequence[Payload], *, clients: int, seconds: float
) -> Replies:
    """Let each client send its next request after the last response, for about ``seconds``.

    Each client sends at least one, however late it starts.
    """
    recorder = _Recorder()
    start = time.perf_counter()

    def run(number: int) -> None:
        client, turn = target.client(), number
        while True:
            sent = time.perf_counter()
            status, _ = client.post(bodies[turn % len(bodies)])
            recorder.add(sent - start, sent, status)
            turn += clients
            if time.perf_counter() - start >= seconds:
                break
        client.close()

    _run_threads(run, clients)
    return recorder.replies()


def open_loop(
    target: LoadTarget,
    bodies: Sequence[Payload],
    *,
    rate: float,
    seconds: float,
    seed: int,
    clients: int,
) -> Replies:
    """Send requests at Poisson times, regardless of earlier ones.

    Args:
        target: the service under load.
        bodies: requests, sent in turn.
        rate: mean arrivals per second.
        seconds: duration of the arrivals.
        seed: seed of the arrival times.
        clients: number of connections. Use more than the server accepts at once, so that requests
            are rejected by the server's queue rather than delayed by a lack of clients.
    """
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(1 / rate, size=max(1, round(rate * seconds)))
    due = np.cumsum(gaps)
    recorder, turns = _Recorder(), iter(range(len(due)))
    lock = threading.Lock()
    start = time.perf_counter()

    def run(_: int) -> None:
        client = target.client()
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                break
            wait = start + due[turn] - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            status, _content = client.post(bodies[turn % len(bodies)])
            recorder.add(float(due[turn]), start + due[turn], status)
        client.close()

    _run_threads(run, min(clients, len(due)))
    return recorder.replies()


class _Recorder:
    """Collects responses from all threads; appending to a list is atomic."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, int]] = []

    def add(self, due_s: float, since: float, status: int) -> None:
        """Record a new response; ``since`` is a time of perf_counter."""
        self._rows.append((due_s, 1e3 * (time.perf_counter() - since), status))

    def replies(self) -> Replies:
        rows = np.array(sorted(self._rows), np.float64).reshape(-1, 3)
        ends = rows[:, 0] + rows[:, 1] / 1e3
        elapsed = float(ends.max() - rows[:, 0].min()) if len(rows) else 0.0
        return Replies(rows[:, 0], rows[:, 1], rows[:, 2].astype(np.int64), elapsed)


def _run_threads(run: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
