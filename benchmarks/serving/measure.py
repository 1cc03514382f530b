"""Compare servers on this machine: answers per second, latency, time by stage.

    python -m benchmarks serving BUNDLE [--quick] [--peers mosec] --out build/bench/serving

Absolute figures depend on the machine, so everything is a ratio: augrank's server against the
pipeline in process and the raw forward pass (the cost of serving), against TorchServe's documented
eager handler (the gain of the runtime) and against four other servers with the same runtime (the
cost of the front end). All servers run on loopback at once and take turns, in reverse order every
other round, so that both sides of a ratio see the same state of the machine; so do the in-process
baselines. Regimes: closed loop (peak), a lone client, open loop at shares of the peak, three times
the peak, thumbnails, answer cache, MLPerf LoadGen.

The JSON line holds ``ratios`` (medians with intervals), a row for each of ``servers``,
``controls`` (the baselines), ``open_loop``, ``overload``, ``stages_ms``, ``cache_ms``,
``scaling_per_s`` and ``mlperf_loadgen``.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from augrank.bundle.graphs import Way, open_graph, possible_ways
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.contracts.run import Precision
from augrank.models.engines import Device, uses_accelerator
from augrank.reporting import Reporter
from augrank.serving.capacity import CapacityRequest, Profile, ServingPlan, plan_serving
from benchmarks.common.workers import private_mb, worker_processes
from benchmarks.serving.in_process import (
    Baseline,
    InProcessBaseline,
    gemm_gigaflops,
)
from benchmarks.serving.measurements import (
    BestServerMeasurement,
    ServerMeasurement,
    ServingBenchConfig,
    ServingMeasurements,
)
from benchmarks.serving.mlperf import LoadGenConfig, run_loadgen
from benchmarks.serving.scenarios import (
    OVERLOAD,
    best_clients,
    cache_latencies,
    lone_client,
    overload,
    peak_rate,
    poisson_load,
    thumbnail_ratios,
)
from benchmarks.serving.scoring import measure_score
from benchmarks.serving.servers import check_answers, start_servers, without_settings
from benchmarks.serving.systems import (
    DEFAULT,
    SystemUnderTest,
    augrank_system,
    documented_system,
    peer_system,
    wait_until_answering,
)

CACHE_MB = 64

Rates = dict[Way, list[float]]


@dataclass(frozen=True)
class Comparison:
    """The compared systems, and the requests for them.

    Attributes:
        bundle: has an fp32 graph, and a faster one if it is to be timed.
        requests: JSON objects, one for each image.
        config: the amount of work.
        peers: names of other servers.
        profile: as of ``augrank serve``; other servers get the same workers and threads.
        device: limits the ways that are measured; ``auto`` does not.
    """

    bundle: RecommendBundle
    requests: Sequence[dict[str, Any]]
    config: ServingBenchConfig
    peers: Sequence[str]
    profile: Profile = "throughput"
    device: Device = "auto"

    @property
    def gpu(self) -> bool:
        """True if the device is a GPU."""
        return uses_accelerator(self.device)

    @property
    def ways(self) -> list[Way]:
        """The graphs and devices to measure by themselves."""
        spec = self.bundle.spec
        if self.device == "auto":
            return possible_ways(spec, None, "auto")
        faster: Precision = "fp16" if self.gpu else "int8"
        return [Way(p, self.device) for p in ("fp32", faster) if p in spec.graphs]

    def choose(self, plan: ServingPlan) -> Way:
        """Return the way that a server would take on this machine."""
        if self.device != "auto":
            return self.ways[-1]
        return open_graph(
            self.bundle, None, threads=plan.threads, device="auto", spin=plan.spin
        ).way

    def systems(self, plan: ServingPlan, chosen: Way) -> list[SystemUnderTest]:
        """Return the servers that take turns; the default path first."""
        bundle, told = self.bundle, None if self.device == "auto" else chosen
        systems = [replace(augrank_system(bundle, plan, told), name=DEFAULT)]
        systems += [augrank_system(bundle, plan, way) for way in self.measured(chosen)]
        systems.append(documented_system(bundle, plan.cores))
        if not self.config.quick:
            systems.append(documented_system(bundle, plan.workers, plan.threads))
        return systems + [peer_system(name, bundle, chosen, plan) for name in self.peers]

    def measured(self, chosen: Way) -> list[Way]:
        """Return the ways that are measured by themselves: in a quick run, fp32 and the chosen."""
        plain = Way("fp32", "cpu" if self.device == "auto" else self.device)
        if self.config.quick:
            return list(dict.fromkeys([plain, chosen]))
        return list(dict.fromkeys([plain, *self.ways]))


def measure(comparison: Comparison, reporter: Reporter) -> ServingMeasurements:
    """Run the whole comparison."""
    bundle, config = comparison.bundle, comparison.config
    plan = plan_serving(CapacityRequest(comparison.profile, gpu=comparison.gpu))
    chosen = comparison.choose(plan)
    reporter.say(f"auto takes {chosen.label}")
    systems = comparison.systems(plan, chosen)
    with_cache = augrank_system(bundle, plan, chosen, cache_mb=CACHE_MB)
    gemm = gemm_gigaflops()
    with ExitStack() as stack:
        stack.enter_context(without_settings())
        reporter.say(f"starting {len(systems) + 1} servers: {plan.explained()}")
        servers, skipped = start_servers([*systems, with_cache], comparison.requests, stack)
        caching = servers.pop(with_cache.name)
        ways = comparison.measured(chosen)
        baseline = InProcessBaseline(bundle, ways, plan, comparison.requests)
        stack.callback(baseline.close)
        reporter.say("checking that all servers return the same answers")
        check_answers(servers, bundle, comparison.requests[: config.checked])
        reporter.say("finding the number of clients at each server's peak")
        for server in servers.values():
            server.clients = best_clients(server, plan.workers, config)
        pipeline, forward = _measure_rounds(servers, baseline, ways, config, reporter)
        process = servers[DEFAULT].endpoint.process
        worker_mb = [private_mb(each) for each in worker_processes(process)] if process else []
        score = []
        for number in range(config.score_runs):
            reporter.say(f"scoring {config.score_images:,} images, run {number + 1}")
            score.append(measure_score(bundle, comparison.requests, baseline, chosen, config))
        best = _measure_best(servers[DEFAULT], caching, plan, comparison, reporter)
        scaling = {plan.workers: best.peak}
        if config.scaling and not comparison.gpu:
            for workers in range(1, plan.workers):
                reporter.say(f"{workers} of {plan.workers} workers")
                scaling[workers] = _peak_with(workers, chosen, comparison)
    return ServingMeasurements(
        plan=plan,
        config=config,
        device=comparison.device,
        chosen=chosen,
        servers=servers,
        pipeline=pipeline,
        forward=forward,
        best=best,
        scaling=scaling,
        worker_mb=worker_mb,
        score=score,
        skipped=skipped,
        gemm_gigaflops=max(gemm, gemm_gigaflops()),
    )


def _measure_rounds(
    servers: Mapping[str, ServerMeasurement],
    baseline: InProcessBaseline,
    ways: Sequence[Way],
    config: ServingBenchConfig,
    reporter: Reporter,
) -> tuple[Rates, Rates]:
    """Let servers and baselines take turns; return rates of the pipeline and the raw forward."""
    pipeline: Rates = {way: [] for way in ways}
    forward: Rates = {way: [] for way in ways}

    def run_baseline(kind: Baseline, way: Way, rates: list[float]) -> None:
        rates.append(baseline.rate(kind, way, config.in_process_s))

    turns: list[Callable[[], None]] = [
        partial(_measure_server, server, config) for server in servers.values()
    ]
    for way in ways:
        turns.append(partial(run_baseline, "pipeline", way, pipeline[way]))
        turns.append(partial(run_baseline, "forward", way, forward[way]))
    for number in range(config.rounds):
        reporter.say(f"round {number + 1} of {config.rounds}")
        for turn in reversed(turns) if number % 2 else turns:
            turn()
    return pipeline, forward


def _measure_server(server: ServerMeasurement, config: ServingBenchConfig) -> None:
    """Measure one server for one round: its peak, then a lone client."""
    replies = peak_rate(server, config)
    server.rates.append(replies.rate)
    server.loaded.append(replies)
    latencies, stages = lone_client(server, config.lone)
    server.lone_ms.append(latencies)
    server.stages_ms.append(stages)


def _measure_best(
    server: ServerMeasurement,
    caching: ServerMeasurement,
    plan: ServingPlan,
    comparison: Comparison,
    reporter: Reporter,
) -> BestServerMeasurement:
    """Run the scenarios of only augrank's server, as a user gets it.

    Args:
        server: measured in the rounds.
        caching: the same with an answer cache.
        plan: workers and queue of both.
        comparison: requests and durations.
        reporter: prints the scenario.
    """
    config = comparison.config
    peak = float(np.median(server.rates))
    reporter.say("eight thumbnails compared with none")
    thumbnails = thumbnail_ratios(server, comparison.requests, config)
    reporter.say(f"MLPerf LoadGen against {server.system.name}")
    lone_ms = float(np.median(np.concatenate(server.lone_ms)))
    mlperf = run_loadgen(
        server.endpoint,
        server.bodies,
        LoadGenConfig(peak, lone_ms, config.loadgen_s, plan.queue_size),
    )
    loads = {}
    for share in config.loads:
        reporter.say(f"open loop at {share:.0%} of the peak of {peak:.1f} requests/s")
        loads[share] = poisson_load(server, plan, share * peak, config.open_s, seed=1)
    reporter.say(f"overload at {OVERLOAD:.0f} x the peak")
    overloaded = overload(server, plan, peak, loads[max(loads)], config)
    reporter.say("answer cache")
    cache_ms = cache_latencies(caching, plan.workers)
    return BestServerMeasurement(peak, loads, overloaded, thumbnails, cache_ms, mlperf)


def _peak_with(workers: int, chosen: Way, comparison: Comparison) -> float:
    """Measure the peak of augrank's server with fewer workers, of one thread each."""
    config = comparison.config
    plan = plan_serving(CapacityRequest("throughput", cores=workers, workers=workers))
    system = augrank_system(comparison.bundle, plan, chosen)
    with system.start() as endpoint:
        bodies = system.bodies(comparison.requests)
        wait_until_answering(endpoint, bodies[0])
        server = ServerMeasurement(system, endpoint, bodies)
        server.clients = best_clients(server, workers, config)
        return float(np.median([peak_rate(server, config).rate for _ in range(config.rounds)]))
