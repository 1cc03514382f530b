"""Scenarios of one running server: a lone client, thumbnails, open loop, overload, answer cache."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.serving.capacity import ServingPlan
from benchmarks.common.http_client import OK, HttpClient
from benchmarks.common.load import Replies, closed_loop, open_loop
from benchmarks.serving.measurements import ServerMeasurement, ServingBenchConfig
from benchmarks.serving.pipeline import STAGES

OVERLOAD = 3.0  # times the peak
RECOVERY_S = 5.0
CACHE_PASSES = 3
THUMBNAIL_ALTERNATES = 2  # with six candidates: eight thumbnails
SPARE_CLIENTS = 32
REFUSED = 503


def best_clients(server: ServerMeasurement, workers: int, config: ServingBenchConfig) -> int:
    """Find the number of clients at a server's peak; for some, that is one."""

    def rate(clients: int) -> float:
        return closed_loop(
            server.endpoint, server.bodies, clients=clients, seconds=config.sweep_s
        ).rate

    counts = sorted({max(1, per_worker * workers) for per_worker in config.sweep})
    rate(counts[-1])  # warm-up
    return max(counts, key=rate)


def peak_rate(server: ServerMeasurement, config: ServingBenchConfig) -> Replies:
    """Load a server with its best number of clients in a closed loop."""
    return closed_loop(
        server.endpoint, server.bodies, clients=server.clients, seconds=config.closed_s
    )


def lone_client(
    server: ServerMeasurement, count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Send requests one after another.

    Returns:
        Latencies (count,), ms, and the stages reported in answers, ms (answers, STAGES); no rows if
        the server does not report them.
    """
    client, latencies, stages = HttpClient(server.endpoint), [], []
    for number in range(count):
        start = time.perf_counter()
        status, content = client.post(server.bodies[number % len(server.bodies)])
        latencies.append(1e3 * (time.perf_counter() - start))
        timings = server.endpoint.unwrap(content).get("timings_ms") if status == OK else None
        if timings:
            stages.append([timings[stage] for stage in STAGES])
    client.close()
    return np.array(latencies), np.array(stages).reshape(-1, len(STAGES))


def thumbnail_ratios(
    server: ServerMeasurement, requests: Sequence[Mapping[str, Any]], config: ServingBenchConfig
) -> list[float]:
    """Divide the throughput with eight thumbnails by that without, round by round."""
    ratios = []
    for _ in range(config.rounds):
        rates = []
        for thumbnails in (True, False):
            options = {"thumbnails": thumbnails, "alternates": THUMBNAIL_ALTERNATES}
            bodies = server.system.bodies([{**request, **options} for request in requests])
            replies = closed_loop(
                server.endpoint, bodies, clients=server.clients, seconds=config.closed_s
            )
            rates.append(replies.rate)
        ratios.append(rates[0] / rates[1])
    return ratios


def poisson_load(
    server: ServerMeasurement, plan: ServingPlan, rate: float, seconds: float, seed: int
) -> Replies:
    """Send Poisson arrivals from more clients than the server can hold requests."""
    capacity = plan.queue_size + plan.workers * plan.batch_size
    return open_loop(
        server.endpoint,
        server.bodies,
        rate=rate,
        seconds=seconds,
        seed=seed,
        clients=2 * capacity + SPARE_CLIENTS,
    )


def overload(
    server: ServerMeasurement,
    plan: ServingPlan,
    peak: float,
    busiest: Replies,
    config: ServingBenchConfig,
) -> dict[str, Any]:
    """Send three times the peak, then see how fast the server recovers.

    Args:
        server: the server under load.
        plan: its workers and queue.
        peak: its peak answers per second.
        busiest: responses of the highest load below the peak, for comparison.
        config: durations.
    """
    before = float(np.median(lone_client(server, config.lone)[0]))
    replies = poisson_load(server, plan, OVERLOAD * peak, config.overload_s, seed=2)
    time.sleep(RECOVERY_S)
    after = float(np.median(lone_client(server, config.lone)[0]))
    refused = replies.status == REFUSED
    admitted_p99, busiest_p99 = replies.percentile(99)[0], busiest.percentile(99)[0]
    return {
        "requests": len(replies.status),
        "answered": int(replies.ok.sum()),
        "refused_503": int(refused.sum()),
        "otherwise_failed": int((~replies.ok & ~refused).sum()),
        "answered_per_s": round(replies.rate, 2),
        "refused_p50_ms": _percentile(replies.latency_ms[refused], 50),
        "refused_p99_ms": _percentile(replies.latency_ms[refused], 99),
        "admitted_p99_ms": round(admitted_p99, 1),
        "p99_at_busiest_load_ms": round(busiest_p99, 1),
        "admitted_over_busiest": round(admitted_p99 / busiest_p99, 2),
        "lone_p50_before_ms": round(before, 2),
        "lone_p50_5_s_after_ms": round(after, 2),
    }


def cache_latencies(
    server: ServerMeasurement, workers: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Measure a lone client's latencies, ms: of cached and of computed answers."""
    hits: list[float] = []
    misses: list[float] = []
    client = HttpClient(server.endpoint)
    for _ in range(CACHE_PASSES * workers):  # each worker has its own cache
        for body in server.bodies:
            start = time.perf_counter()
            status, content = client.post(body)
            latency_ms = 1e3 * (time.perf_counter() - start)
            if status == OK:
                cached = server.endpoint.unwrap(content)["cached"]
                (hits if cached else misses).append(latency_ms)
    client.close()
    return np.array(hits), np.array(misses)


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if len(values) else None
