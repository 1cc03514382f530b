"""Servers side by side on this machine: who answers how many, how fast, and where the time goes.

All servers stand ready on loopback at once and are asked in turn, round after round and every other
round in reverse, so that a ratio of two of them meets the same state of the machine. The controls
(the pipeline in process, the raw forward) take their turn in every round.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.bundle.spec import Precision
from augrank.errors import AugrankError
from augrank.models.engines import Device, uses_accelerator
from augrank.serving.capacity import CapacityRequest, Profile, plan_serving
from augrank.tasks.recommend.pipeline import Recommender
from benchmarks.common.load import OK, Client, closed_loop
from benchmarks.serving.in_process import Controls, What, candidates, gemm_gigaflops
from benchmarks.serving.measurements import Effort, Measured, Standing
from benchmarks.serving.mlperf import loadgen
from benchmarks.serving.scenarios import OVERLOAD, cache, lone, overload, poisson, thumbnails
from benchmarks.serving.systems import Contestant, documented, ours, peer, wait_answering

Note = Callable[[str], None]
# Another number of threads, or another network, adds up in another order.
TOLERANCE, EAGER_TOLERANCE = 1e-5, 2e-3
SETTINGS = "AUGRANK_"  # variables that would decide for our servers and not for others


def measure(
    bundle: RecommendBundle,
    asked: Sequence[dict[str, Any]],
    effort: Effort,
    peers: Sequence[str],
    note: Note,
    *,
    profile: Profile = "throughput",
    device: Device = "cpu",
) -> Measured:
    """Run the whole comparison.

    Args:
        bundle: with an fp32 graph, and a faster one if it is to be timed.
        asked: questions, as JSON objects, one for each image.
        effort: how long.
        peers: names of other servers.
        note: told what is being done.
        profile: of ``augrank serve``; other servers get the same workers and threads.
        device: that computes.
    """
    gpu = uses_accelerator(device)
    plan = plan_serving(CapacityRequest(profile, gpu=gpu))
    faster: Precision = "fp16" if gpu else "int8"
    precisions = tuple(p for p in ("fp32", faster) if p in bundle.spec.graphs)
    fast = precisions[-1]
    contestants = [ours(bundle, precision, plan, device=device) for precision in precisions]
    contestants.append(documented(bundle, plan.cores))
    if not effort.quick:
        contestants.append(documented(bundle, plan.workers, plan.threads))
    contestants += [peer(name, bundle, fast, plan, device) for name in peers]
    if effort.openvino and device == "cpu" and find_spec("openvino"):
        contestants += [ours(bundle, p, plan, device="openvino") for p in precisions]
    with_cache = ours(bundle, fast, plan, device=device, cache_mb=64)
    gemm = gemm_gigaflops()
    with ExitStack() as stack:
        stack.enter_context(_without_settings())
        note(f"starting {len(contestants) + 1} servers: {plan.explained()}")
        servers, skipped = _start([*contestants, with_cache], asked, stack)
        caching = servers.pop(with_cache.name)
        controls = Controls(bundle, precisions, plan, device, asked)
        stack.callback(controls.close)
        note("checking that all answer the same")
        _check_answers(servers, bundle, asked[: effort.checked])
        note("looking for the number of clients with which each answers most")
        for standing in servers.values():
            standing.clients = _best_clients(standing, plan.workers, effort)
        pipeline: dict[Precision, list[float]] = {p: [] for p in precisions}
        forward: dict[Precision, list[float]] = {p: [] for p in precisions}
        for number in range(effort.rounds):
            note(f"round {number + 1} of {effort.rounds}")
            turns = [partial(_turn, standing, effort) for standing in servers.values()]
            for p in precisions:
                turns.append(partial(_control, controls, "pipeline", p, effort, pipeline[p]))
                turns.append(partial(_control, controls, "forward", p, effort, forward[p]))
            for turn in reversed(turns) if number % 2 else turns:
                turn()
        best = servers[f"augrank {fast}"]
        peak = float(np.median(best.rates))
        note("eight thumbnails against none")
        slowed = thumbnails(best, asked, effort)
        note(f"MLPerf LoadGen against {best.contestant.name}")
        lone_ms = float(np.median(np.concatenate(best.lone_ms)))
        mlperf = loadgen(
            best.endpoint, best.bodies, peak=peak, lone_ms=lone_ms, seconds=effort.loadgen_s,
            connections=plan.queue_size,
        )  # fmt: skip
        loads = {}
        for share in effort.loads:
            note(f"open loop at {share:.0%} of the peak of {peak:.1f} requests/s")
            loads[share] = poisson(best, plan, share * peak, effort.open_s, seed=1)
        note(f"overload at {OVERLOAD:.0f} x the peak")
        overloaded = overload(best, plan, peak, loads[max(loads)], effort)
        note("answer cache")
        cache_ms = cache(caching, plan.workers)
        scaling = {plan.workers: peak}
        servers_to_scale = range(1, plan.workers) if effort.scaling and not gpu else ()
        for workers in servers_to_scale:
            note(f"{workers} of {plan.workers} workers")
            scaling[workers] = _rate_with(bundle, fast, device, workers, asked, effort)
    return Measured(
        plan, effort, device, fast, servers, pipeline, forward, loads, peak, overloaded, slowed,
        cache_ms, scaling, mlperf, skipped, max(gemm, gemm_gigaflops()),
    )  # fmt: skip


@contextmanager
def _without_settings() -> Iterator[None]:
    """Leave out of every server's environment what this shell may say to our own."""
    left_out = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SETTINGS)
    }
    try:
        yield
    finally:
        os.environ.update(left_out)


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
        bodies = contestant.bodies(asked)
        try:
            wait_answering(endpoint, bodies[0])
        except AugrankError as error:
            running.__exit__(None, None, None)
            return error
        stack.push(running)
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
    servers: Mapping[str, Standing], bundle: RecommendBundle, asked: Sequence[dict[str, Any]]
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
            recommender = Recommender(
                bundle, precision=contestant.precision, device=contestant.device
            )
            known[way] = [candidates(recommender, question) for question in asked]
        eager = contestant.name.startswith("documented")
        tolerance = EAGER_TOLERANCE if eager else TOLERANCE
        client = Client(standing.endpoint)
        for want, body in zip(known[way], standing.bodies, strict=False):
            status, content = client.post(body)
            answer = standing.endpoint.unwrap(content) if status == OK else {"candidates": []}
            got = {item["name"]: item["probability"] for item in answer["candidates"]}
            apart = max((abs(got.get(n, np.inf) - p) for n, p in want.items()), default=np.inf)
            if set(got) != set(want) or apart > tolerance or answer.get("cached"):
                raise AugrankError(
                    f"{contestant.name} answers otherwise than the pipeline in process",
                    expected=str(want),
                    got=f"{status}, cached {answer.get('cached')}: {got}",
                )
        client.close()


def _best_clients(standing: Standing, workers: int, effort: Effort) -> int:
    """The number of clients with which a server answers most; some thrash with more than one."""

    def rate(clients: int) -> float:
        return closed_loop(
            standing.endpoint, standing.bodies, clients=clients, seconds=effort.sweep_s
        ).rate

    tried = sorted({max(1, each * workers) for each in effort.sweep})
    rate(tried[-1])  # warms it up
    return max(tried, key=rate)


def _turn(standing: Standing, effort: Effort) -> None:
    """A server's turn in a round: its peak, then a lone client."""
    replies = closed_loop(
        standing.endpoint, standing.bodies, clients=standing.clients, seconds=effort.closed_s
    )
    standing.rates.append(replies.rate)
    standing.loaded.append(replies)
    latencies, stages = lone(standing, effort.lone)
    standing.lone_ms.append(latencies)
    standing.stages_ms.append(stages)


def _control(
    controls: Controls, what: What, precision: Precision, effort: Effort, rates: list[float]
) -> None:
    """A control's turn in a round."""
    rates.append(controls.rate(what, precision, effort.control_s))


def _rate_with(
    bundle: RecommendBundle,
    precision: Precision,
    device: Device,
    workers: int,
    asked: Sequence[dict[str, Any]],
    effort: Effort,
) -> float:
    """Peak of our server with fewer workers of one thread each."""
    plan = plan_serving(CapacityRequest("throughput", cores=workers, workers=workers))
    with _running(ours(bundle, precision, plan, device=device), asked) as standing:
        clients = _best_clients(standing, workers, effort)
        rates = [
            closed_loop(
                standing.endpoint, standing.bodies, clients=clients, seconds=effort.closed_s
            ).rate
            for _ in range(effort.rounds)
        ]
    return float(np.median(rates))


@contextmanager
def _running(contestant: Contestant, asked: Sequence[dict[str, Any]]) -> Iterator[Standing]:
    with contestant.start() as endpoint:
        bodies = contestant.bodies(asked)
        wait_answering(endpoint, bodies[0])
        yield Standing(contestant, endpoint, bodies)
