"""Servers side by side on this machine: who answers how many, how fast, and where the time goes.

All servers stand ready on loopback at once and are asked in turn, round after round and every other
round in reverse, so that a ratio of two of them meets the same state of the machine. The controls
(the pipeline in process, the raw forward) take their turn in every round.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle import Bundle, Precision
from augrank.engines import Device
from augrank.errors import AugrankError
from augrank.plan import ServingPlan, plan_serving
from benchmarks.contestants import (
    Contestant,
    documented,
    ours,
    peer,
    wait_answering,
)
from benchmarks.controls import Controls
from benchmarks.load import OK, Body, Client, Endpoint, Replies, closed_loop, open_loop
from benchmarks.mlperf import loadgen

Note = Callable[[str], None]
STAGES = ("decode", "augment", "embed", "score", "rank", "total")
CHECKED_PICTURES = 4
# An eager network and onnxruntime add up in another order.
EAGER_TOLERANCE = 2e-3
CLIENTS_PER_WORKER = 2
OVERLOAD = 3.0  # times the peak
RECOVERY_S = 5.0
CACHE_PASSES = 3
THUMBNAIL_ALTERNATES = 2  # with six candidates: eight thumbnails


@dataclass(frozen=True)
class Effort:
    """How long to measure."""

    quick: bool
    rounds: int
    closed_s: float  # a server's turn
    control_s: float  # a control's turn
    lone: int  # requests of a lone client, a round
    loads: tuple[float, ...]  # of the peak, in the open loop
    open_s: float
    overload_s: float
    loadgen_s: float
    scaling: bool
    openvino: bool  # whether to compare it, where it is installed


FULL = Effort(False, 7, 6.0, 3.0, 30, (0.3, 0.5, 0.7, 0.9), 60.0, 60.0, 20.0, True, True)
QUICK = Effort(True, 2, 1.5, 0.7, 6, (0.7, 0.9), 5.0, 4.0, 2.0, False, False)


@dataclass
class Standing:
    """A running server and what was seen of it."""

    contestant: Contestant
    endpoint: Endpoint
    bodies: list[Body]
    rates: list[float] = field(default_factory=list)  # answers per second, by round
    loaded: list[Replies] = field(default_factory=list)
    lone_ms: list[NDArray[np.float64]] = field(default_factory=list)  # by round
    stages_ms: list[NDArray[np.float64]] = field(default_factory=list)  # (requests, STAGES)


@dataclass(frozen=True)
class Measured:
    """All that a run of the benchmark saw."""

    plan: ServingPlan
    effort: Effort
    fast: Precision  # int8 where the bundle has it
    servers: dict[str, Standing]
    pipeline: dict[Precision, list[float]]  # requests per second, by round
    forward: dict[Precision, list[float]]  # of one request's candidates
    open: dict[float, Replies]  # by share of the peak
    peak: float
    overload: dict[str, Any]
    thumbnails: list[float]  # throughput with, over without, by round
    cache_ms: tuple[NDArray[np.float64], NDArray[np.float64]]  # hits, misses
    scaling: dict[int, float]  # answers per second by workers
    mlperf: dict[str, Any]
    skipped: dict[str, str]  # servers that did not come up, and why

    def ours(self, precision: Precision) -> Standing:
        """Our server of this precision."""
        return self.servers[f"augrank {precision}"]


def measure(
    bundle: Bundle,
    asked: Sequence[dict[str, Any]],
    effort: Effort,
    peers: Sequence[str],
    note: Note,
) -> Measured:
    """Run the whole comparison.

    Args:
        bundle: with an fp32 graph, and an int8 one if it is to be timed.
        asked: questions, as JSON objects, one for each picture.
        effort: how long.
        peers: names of other servers.
        note: told what is being done.
    """
    plan = plan_serving("throughput")
    precisions = tuple(p for p in ("fp32", "int8") if p in bundle.spec.graphs)
    fast = precisions[-1]
    contestants = [ours(bundle, precision, plan) for precision in precisions]
    contestants.append(documented(bundle, plan.cores))
    if not effort.quick:
        contestants.append(documented(bundle, plan.workers, plan.threads))
    contestants += [peer(name, bundle, fast, plan) for name in peers]
    if effort.openvino and find_spec("openvino"):
        contestants += [ours(bundle, p, plan, device="openvino") for p in precisions]
    with_cache = ours(bundle, fast, plan, cache_mb=64)
    controls = {p: Controls(bundle, p, plan.cores) for p in precisions}
    with ExitStack() as stack:
        note(f"starting {len(contestants) + 1} servers: {plan.explained()}")
        servers, skipped = _start([*contestants, with_cache], asked, stack)
        caching = servers.pop(with_cache.name)
        note("checking that all answer the same")
        _check_answers(servers, bundle, asked)
        clients = CLIENTS_PER_WORKER * plan.workers
        for standing in servers.values():
            closed_loop(
                standing.endpoint, standing.bodies, clients=clients, seconds=effort.closed_s
            )
        pipeline: dict[Precision, list[float]] = {p: [] for p in precisions}
        forward: dict[Precision, list[float]] = {p: [] for p in precisions}
        for number in range(effort.rounds):
            note(f"round {number + 1} of {effort.rounds}")
            _round(servers, clients, effort, backwards=number % 2 == 1)
            for precision, control in controls.items():
                pipeline[precision].append(control.pipeline(asked, effort.control_s))
                forward[precision].append(control.forward(effort.control_s))
        best = servers[f"augrank {fast}"]
        peak = float(np.median(best.rates))
        note("eight thumbnails against none")
        thumbnails = _thumbnails(best, asked, clients, effort)
        note(f"MLPerf LoadGen against {best.contestant.name}")
        lone_ms = float(np.median(np.concatenate(best.lone_ms)))
        mlperf = loadgen(
            best.endpoint, best.bodies, peak=peak, lone_ms=lone_ms, seconds=effort.loadgen_s
        )
        loads = {}
        for share in effort.loads:
            note(f"open loop at {share:.0%} of the peak of {peak:.1f} requests/s")
            loads[share] = open_loop(
                best.endpoint, best.bodies, rate=share * peak, seconds=effort.open_s, seed=1
            )
        note(f"overload at {OVERLOAD:.0f} x the peak")
        overload = _overload(best, peak, loads[max(loads)], effort)
        note("answer cache")
        cache = _cache(caching, plan.workers)
    scaling = {plan.workers: peak}
    for workers in range(1, plan.workers) if effort.scaling else ():
        note(f"{workers} of {plan.workers} workers")
        scaling[workers] = _rate_with(bundle, fast, workers, asked, effort)
    return Measured(
        plan, effort, fast, servers, pipeline, forward, loads, peak, overload, thumbnails, cache,
        scaling, mlperf, skipped,
    )  # fmt: skip


def _start(
    contestants: Sequence[Contestant], asked: Sequence[dict[str, Any]], stack: ExitStack
) -> tuple[dict[str, Standing], dict[str, str]]:
    """Start all at once; a peer that does not come up is left out, and said so."""

    def start(contestant: Contestant) -> Standing | AugrankError:
        running = contestant.start()
        try:
            endpoint = running.__enter__()
        except AugrankError as error:
            return error
        stack.push(running)
        bodies = contestant.bodies(asked)
        try:
            wait_answering(endpoint, bodies[0])
        except AugrankError as error:
            return error
        return Standing(contestant, endpoint, bodies)

    with ThreadPoolExecutor(len(contestants)) as pool:
        outcomes = list(pool.map(start, contestants))
    servers, skipped = {}, {}
    for contestant, outcome in zip(contestants, outcomes, strict=True):
        if isinstance(outcome, Standing):
            servers[contestant.name] = outcome
        elif contestant.name.startswith("augrank"):
            raise outcome
        else:
            skipped[contestant.name] = str(outcome)
    return servers, skipped


def _check_answers(
    servers: Mapping[str, Standing], bundle: Bundle, asked: Sequence[dict[str, Any]]
) -> None:
    """Every server must give the candidates and probabilities of the pipeline in process.

    Raises:
        AugrankError: names the server that does not.
    """
    known: dict[tuple[Precision, Device], list[dict[str, float]]] = {}
    for standing in servers.values():
        contestant = standing.contestant
        way = (contestant.precision, contestant.device)
        if way not in known:
            control = Controls(bundle, contestant.precision, 1, contestant.device)
            known[way] = [control.candidates(question) for question in asked[:CHECKED_PICTURES]]
        tolerance = EAGER_TOLERANCE if contestant.name.startswith("documented") else 0.0
        client = Client(standing.endpoint)
        for want, body in zip(known[way], standing.bodies, strict=False):
            status, content = client.post(body)
            answer = standing.endpoint.unwrap(content) if status == OK else {"candidates": []}
            got = {item["name"]: item["probability"] for item in answer["candidates"]}
            apart = max((abs(got.get(n, np.inf) - p) for n, p in want.items()), default=np.inf)
            if set(got) != set(want) or apart > tolerance:
                raise AugrankError(
                    f"{contestant.name} answers otherwise than the pipeline in process",
                    expected=str(want),
                    got=f"{status}: {got}",
                )
        client.close()


def _round(servers: dict[str, Standing], clients: int, effort: Effort, *, backwards: bool) -> None:
    """One turn for every server: its peak, then a lone client."""
    order = list(servers.values())
    for standing in reversed(order) if backwards else order:
        replies = closed_loop(
            standing.endpoint, standing.bodies, clients=clients, seconds=effort.closed_s
        )
        standing.rates.append(replies.rate)
        standing.loaded.append(replies)
        latencies, stages = _lone(standing, effort.lone)
        standing.lone_ms.append(latencies)
        standing.stages_ms.append(stages)


def _lone(standing: Standing, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _thumbnails(
    standing: Standing, asked: Sequence[dict[str, Any]], clients: int, effort: Effort
) -> list[float]:
    ratios = []
    for _ in range(effort.rounds):
        rates = []
        for wanted in (True, False):
            options = {"thumbnails": wanted, "alternates": THUMBNAIL_ALTERNATES}
            bodies = standing.contestant.bodies([{**question, **options} for question in asked])
            replies = closed_loop(
                standing.endpoint, bodies, clients=clients, seconds=effort.closed_s
            )
            rates.append(replies.rate)
        ratios.append(rates[0] / rates[1])
    return ratios


def _overload(standing: Standing, peak: float, busy: Replies, effort: Effort) -> dict[str, Any]:
    """Three times the peak for a while, then back to normal."""
    before = float(np.median(_lone(standing, effort.lone)[0]))
    replies = open_loop(
        standing.endpoint, standing.bodies, rate=OVERLOAD * peak, seconds=effort.overload_s, seed=2
    )
    time.sleep(RECOVERY_S)
    after = float(np.median(_lone(standing, effort.lone)[0]))
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


def _cache(standing: Standing, workers: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _rate_with(
    bundle: Bundle,
    precision: Precision,
    workers: int,
    asked: Sequence[dict[str, Any]],
    effort: Effort,
) -> float:
    """Peak of our server with fewer workers of one thread each."""
    plan = plan_serving("throughput", cores=workers, workers=workers)
    with _running(ours(bundle, precision, plan), asked) as standing:
        clients = CLIENTS_PER_WORKER * workers
        rates = [
            closed_loop(
                standing.endpoint, standing.bodies, clients=clients, seconds=effort.closed_s
            ).rate
            for _ in range(effort.rounds)
        ]
    return float(np.median(rates[1:] or rates))


@contextmanager
def _running(contestant: Contestant, asked: Sequence[dict[str, Any]]) -> Iterator[Standing]:
    with contestant.start() as endpoint:
        bodies = contestant.bodies(asked)
        wait_answering(endpoint, bodies[0])
        yield Standing(contestant, endpoint, bodies)
