"""How a running server behaves: alone, with thumbnails, under load, overloaded, with its cache."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.serving.capacity import ServingPlan
from benchmarks.common.load import OK, Client, Replies, closed_loop, open_loop
from benchmarks.serving.measurements import STAGES, Effort, Standing

OVERLOAD = 3.0  # times the peak
RECOVERY_S = 5.0
CACHE_PASSES = 3
THUMBNAIL_ALTERNATES = 2  # with six candidates: eight thumbnails


def lone(standing: Standing, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latencies of one client alone, ms, and the stages its answers speak of, if they do."""
    client, latencies, stages = Client(standing.endpoint), [], []
    for number in range(count):
        start = time.perf_counter()
        status, content = client.post(standing.bodies[number % len(standing.bodies)])
        latencies.append(1e3 * (time.perf_counter() - start))
        timings = standing.endpoint.unwrap(content).get("timings_ms") if status == OK else None
        if timings:
            stages.append([timings[stage] for stage in STAGES])
    client.close()
    return np.array(latencies), np.array(stages).reshape(-1, len(STAGES))


def thumbnails(standing: Standing, asked: Sequence[dict[str, Any]], effort: Effort) -> list[float]:
    """Throughput with eight thumbnails over without, by round."""
    ratios = []
    for _ in range(effort.rounds):
        rates = []
        for wanted in (True, False):
            options = {"thumbnails": wanted, "alternates": THUMBNAIL_ALTERNATES}
            bodies = standing.contestant.bodies([{**question, **options} for question in asked])
            replies = closed_loop(
                standing.endpoint, bodies, clients=standing.clients, seconds=effort.closed_s
            )
            rates.append(replies.rate)
        ratios.append(rates[0] / rates[1])
    return ratios


def poisson(
    standing: Standing, plan: ServingPlan, rate: float, seconds: float, seed: int
) -> Replies:
    """Poisson arrivals, with more clients than the server can hold requests."""
    held = plan.queue_size + plan.workers * plan.batch_size
    return open_loop(
        standing.endpoint, standing.bodies, rate=rate, seconds=seconds, seed=seed,
        clients=2 * held + 32,
    )  # fmt: skip


def overload(
    standing: Standing, plan: ServingPlan, peak: float, busy: Replies, effort: Effort
) -> dict[str, Any]:
    """Three times the peak for a while, then back to normal."""
    before = float(np.median(lone(standing, effort.lone)[0]))
    replies = poisson(standing, plan, OVERLOAD * peak, effort.overload_s, seed=2)
    time.sleep(RECOVERY_S)
    after = float(np.median(lone(standing, effort.lone)[0]))
    refused = replies.status == 503
    return {
        "requests": len(replies.status),
        "answered": int(replies.ok.sum()),
        "refused_503": int(refused.sum()),
        "otherwise_failed": int((~replies.ok & ~refused).sum()),
        "answered_per_s": round(replies.rate, 2),
        "refused_p50_ms": _percentile(replies.latency_ms[refused], 50),
        "refused_p99_ms": _percentile(replies.latency_ms[refused], 99),
        "admitted_p99_ms": round(replies.percentile(99)[0], 1),
        "p99_at_busiest_load_ms": round(busy.percentile(99)[0], 1),
        "admitted_over_busiest": round(replies.percentile(99)[0] / busy.percentile(99)[0], 2),
        "lone_p50_before_ms": round(before, 2),
        "lone_p50_5_s_after_ms": round(after, 2),
    }


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 1) if len(values) else None


def cache(standing: Standing, workers: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latencies of a lone client, ms: answers from the cache, and answers computed."""
    hits: list[float] = []
    misses: list[float] = []
    client = Client(standing.endpoint)
    for _ in range(CACHE_PASSES * workers):  # each worker keeps its own
        for body in standing.bodies:
            start = time.perf_counter()
            status, content = client.post(body)
            took_ms = 1e3 * (time.perf_counter() - start)
            if status == OK:
                cached = standing.endpoint.unwrap(content)["cached"]
                (hits if cached else misses).append(took_ms)
    client.close()
    return np.array(hits), np.array(misses)
