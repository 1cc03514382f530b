"""Ratios, table rows and JSON object of the serving benchmark.

Columns are named as in TorchServe's own benchmark suite and in SageMaker Inference Recommender.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from augrank.bundle.graphs import Way
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import AugrankError
from benchmarks.common.machine import machine
from benchmarks.common.results import RESULTS_VERSION
from benchmarks.common.statistics import Median
from benchmarks.serving.in_process import forward_gigaops
from benchmarks.serving.measurements import ServerMeasurement, ServingMeasurements
from benchmarks.serving.pipeline import STAGES
from benchmarks.serving.systems import DEFAULT, DOCUMENTED, TUNED

SECONDS_PER_HOUR, MINUTE_S, MILLION = 3600, 60, 1_000_000
REPORTED_LOAD = 0.7  # share of the peak whose open loop is a ratio


def ratios(measured: ServingMeasurements) -> dict[str, Median]:
    """Return medians of paired ratios, with intervals; those without a counterpart are left out."""
    default, chosen = measured.default, measured.chosen
    figures = {
        **_default_over_others(measured),
        "server_over_pipeline": _over(default, measured.pipeline[chosen]),
        "server_over_forward": _over(default, measured.forward[chosen]),
        "added_p50_ms": Median.of(_added_ms(default)),
        "head_share": Median.of(_stage_shares(default, "score"), digits=5),
        "thumbnails_over_plain": Median.of(measured.best.thumbnails),
        "score_over_pipeline": Median.of([score / rate for score, rate in measured.score]),
    }
    for way in measured.pipeline:
        server, name = measured.augrank(way), _key(way)
        figures[f"server_over_pipeline_{name}"] = _over(server, measured.pipeline[way])
        figures[f"server_over_forward_{name}"] = _over(server, measured.forward[way])
        figures |= _over_documented(measured, way)
    if measured.worker_mb:
        figures["worker_private_mb"] = Median.of(measured.worker_mb, digits=0)
    figures |= _over_other_engines(measured)
    figures |= _over_peers(measured)
    if (replies := measured.best.open.get(REPORTED_LOAD)) is not None:
        figures["open_loop_p99_over_p50"] = Median.of_percentile_ratio(
            replies.latency_ms[replies.ok], np.concatenate(default.lone_ms), percents=(99.0, 50.0)
        )
    hits, misses = measured.best.cache_ms
    if len(hits) and len(misses):
        figures["cache_hit_over_miss"] = Median.of_percentile_ratio(misses, hits)
    return figures


def rows(
    measured: ServingMeasurements, candidates: int, price_per_hour: float | None
) -> list[dict[str, Any]]:
    """Return one row for each server at its peak.

    Args:
        measured: a run of the benchmark.
        candidates: number of candidates per request.
        price_per_hour: price of the machine; adds the cost of answers.

    Raises:
        AugrankError: a server answered nothing.
    """
    return [
        _row(server, measured, candidates, price_per_hour) for server in measured.servers.values()
    ]


def result_json(
    measured: ServingMeasurements,
    bundle: RecommendBundle,
    command: str,
    price_per_hour: float | None,
) -> dict[str, Any]:
    """Return the content of results.json."""
    spec, best = bundle.spec, measured.best
    return {
        "benchmark": "serving",
        "results_version": RESULTS_VERSION,
        "command": command,
        "quick": measured.config.quick,
        "model": _model(bundle),
        "machine": machine(measured.plan.threads),
        "plan": measured.plan.explained(),
        "device": measured.device,
        "chosen": measured.chosen.label,
        "rounds": measured.config.rounds,
        "ratios": {name: figure.to_dict() for name, figure in ratios(measured).items()},
        "servers": rows(measured, len(spec.augmentations.names), price_per_hour),
        "controls": _baselines(measured, bundle),
        "open_loop": _open_loop(measured),
        "overload": best.overload,
        "stages_ms": {
            name: _stage_medians(server)
            for name, server in measured.servers.items()
            if any(len(part) for part in server.stages_ms)
        },
        "cache_ms": {
            name: Median.of(values).to_dict()
            for name, values in zip(("hit", "miss"), best.cache_ms, strict=True)
            if len(values)
        },
        "score_per_s": Median.of([score for score, _ in measured.score]).to_dict(),
        "scaling_per_s": {str(n): round(rate, 2) for n, rate in sorted(measured.scaling.items())},
        "mlperf_loadgen": best.mlperf,
        "skipped": measured.skipped,
    }


def _row(
    server: ServerMeasurement,
    measured: ServingMeasurements,
    candidates: int,
    price_per_hour: float | None,
) -> dict[str, Any]:
    plan, system = measured.plan, server.system
    latency_ms = np.concatenate([replies.latency_ms[replies.ok] for replies in server.loaded])
    if not len(latency_ms):
        statuses = np.unique(np.concatenate([replies.status for replies in server.loaded]))
        raise AugrankError(
            f"{system.name} answered nothing in the closed loop", got=f"statuses {statuses}"
        )
    sent = sum(len(replies.status) for replies in server.loaded)
    failed = sent - len(latency_ms)
    rate = Median.of(server.rates, digits=3)
    p50, p90, p99 = (round(float(v), 2) for v in np.percentile(latency_ms, [50, 90, 99]))
    row: dict[str, Any] = {
        "Model": system.name,
        "Precision": (system.way or measured.chosen).label,
        "Batch size": plan.batch_size,
        "Batch delay": plan.batch_delay_ms,
        "Workers": plan.workers,
        # torch's own choice is every core
        "Threads": plan.cores if system.name == DOCUMENTED else plan.threads,
        "Concurrency": server.clients,
        "Requests": sent,
        "TS failed requests": failed,
        "TS throughput": rate.to_dict(),
        "Candidates per s": round(rate.median * candidates, 2),
        "TS latency P50": p50,
        "TS latency P90": p90,
        "TS latency P99": p99,
        "TS latency mean": round(float(latency_ms.mean()), 2),
        "TS error rate": round(failed / sent, 5),
        "MaxInvocations": round(rate.median * MINUTE_S),
        "ModelLatency": p50,
        "Lone latency P50": round(float(np.median(np.concatenate(server.lone_ms))), 2),
    }
    if price_per_hour is not None:
        cost = price_per_hour / (SECONDS_PER_HOUR * rate.median)
        row |= {"CostPerInference": cost, "Cost of a million": round(cost * MILLION, 2)}
    return row


def _model(bundle: RecommendBundle) -> dict[str, Any]:
    spec = bundle.spec
    return {
        "name": spec.name,
        "backbone": spec.backbone,
        "image_size": spec.image_size,
        "candidates": len(spec.augmentations.names),
        "alternates": spec.alternates.count if spec.alternates else 0,
        "passed": {device: list(precisions) for device, precisions in spec.passed.items()},
        "parity": {name: figures.model_dump() for name, figures in spec.parity.items()},
    }


def _baselines(measured: ServingMeasurements, bundle: RecommendBundle) -> dict[str, Any]:
    """Return the in-process baselines."""
    spec, candidates = bundle.spec, len(bundle.spec.augmentations.names)
    gigaops = {
        way.label: forward_gigaops(
            spec.backbone, spec.image_size, candidates * float(np.median(rates))
        )
        for way, rates in measured.forward.items()
    }
    medians = {
        key: {way.label: Median.of(values, digits=3).to_dict() for way, values in rates.items()}
        for key, rates in (
            ("pipeline_per_s", measured.pipeline),
            ("forward_per_s", measured.forward),
        )
    }
    return {
        "gemm_gigaflops": round(measured.gemm_gigaflops, 1),
        **medians,
        "forward_gigaops": {name: round(value, 1) for name, value in gigaops.items()},
    }


def _open_loop(measured: ServingMeasurements) -> list[dict[str, Any]]:
    table = []
    for share, replies in measured.best.open.items():
        p50, p90, p99 = (round(value, 2) for value in replies.percentile(50, 90, 99))
        table.append(
            {
                "share_of_peak": share,
                "offered_per_s": round(share * measured.best.peak, 2),
                "requests": len(replies.status),
                "failed": int((~replies.ok).sum()),
                "p50_ms": p50,
                "p90_ms": p90,
                "p99_ms": p99,
            }
        )
    return table


def _over(server: ServerMeasurement, rates: Sequence[float]) -> Median:
    return Median.of_ratios(server.rates, rates)


def _key(way: Way) -> str:
    """Name a way in a key, such as ``int8`` or ``int8_openvino``."""
    return way.label.replace(", ", "_")


def _default_over_others(measured: ServingMeasurements) -> dict[str, Median]:
    """Return augrank as a user gets it over the documented handler, and over its own best way."""
    servers, default = measured.servers, measured.default
    best = max((measured.augrank(way).rates for way in measured.pipeline), key=np.median)
    figures = {"default_over_best_way": _over(default, best)}
    for key, name in (("documented", DOCUMENTED), ("tuned_documented", TUNED)):
        if name in servers:
            figures[f"default_over_{key}"] = _over(default, servers[name].rates)
    return figures


def _over_documented(measured: ServingMeasurements, way: Way) -> dict[str, Median]:
    """Return one way over the documented handler, as it is and with its threads tuned."""
    servers, server = measured.servers, measured.augrank(way)
    return {
        f"over_{key}_{_key(way)}": _over(server, servers[name].rates)
        for key, name in (("documented", DOCUMENTED), ("tuned_documented", TUNED))
        if name in servers
    }


def _over_other_engines(measured: ServingMeasurements) -> dict[str, Median]:
    """Return OpenVINO over onnxruntime for each graph, and int8 over fp32 for each engine."""
    figures, rates, forward = {}, measured.servers, measured.forward
    for precision in ("fp32", "int8"):
        names = [f"{DEFAULT} {Way(precision, device).label}" for device in ("openvino", "cpu")]
        if all(name in rates for name in names):
            openvino, plain = (rates[name] for name in names)
            figures[f"openvino_over_onnxruntime_{precision}"] = _over(openvino, plain.rates)
    int8, fp32 = Way("int8", "cpu"), Way("fp32", "cpu")
    if int8 in forward and fp32 in forward:
        figures["int8_over_fp32"] = Median.of_ratios(forward[int8], forward[fp32])
    return figures


def _over_peers(measured: ServingMeasurements) -> dict[str, Median]:
    """Return augrank as a user gets it over each peer on the same engine, and over the best."""
    default, servers = measured.default, measured.servers
    peers = [name for name in servers if not name.startswith(("augrank", "documented"))]
    figures = {
        f"over_{name}": Median.of_ratios(default.rates, servers[name].rates) for name in peers
    }
    if peers:
        best = max(peers, key=lambda name: float(np.median(servers[name].rates)))
        figures["over_best_peer"] = figures[f"over_{best}"]
    return figures


def _added_ms(server: ServerMeasurement) -> list[float]:
    """Return the time that a lone client waits beyond the pipeline's own, ms, by round."""
    total = STAGES.index("total")
    return [
        float(np.median(latency) - np.median(stages[:, total]))
        for latency, stages in zip(server.lone_ms, server.stages_ms, strict=True)
    ]


def _stage_shares(server: ServerMeasurement, stage: str) -> list[float]:
    """Return a stage's share of the time that a lone client waits, by round."""
    column = STAGES.index(stage)
    return [
        float(np.median(stages[:, column]) / np.median(latency))
        for latency, stages in zip(server.lone_ms, server.stages_ms, strict=True)
    ]


def _stage_medians(server: ServerMeasurement) -> dict[str, float]:
    medians = np.median(np.concatenate(server.stages_ms), axis=0)
    return {stage: round(float(ms), 3) for stage, ms in zip(STAGES, medians, strict=True)}
