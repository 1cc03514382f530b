"""Performance targets of serving, and what was tried if one is missed."""

from dataclasses import replace

from augrank.contracts.run import Precision
from benchmarks.common.results import Results
from benchmarks.common.targets import PerformanceTarget, single

SHARED_CORES = "The front end and the load's clients share the cores with the model."
RATIOS = (
    PerformanceTarget(
        "default_over_documented", "as a user gets it ÷ documented eager handler", 5.5, 7.0
    ),
    PerformanceTarget(
        "default_over_tuned_documented", "÷ the same with its threads tuned", 4.5, 6.0
    ),
    PerformanceTarget("default_over_best_way", "÷ the best way by hand", 0.97, 1.0),
    PerformanceTarget(
        "server_over_pipeline", "server ÷ pipeline in process", 0.95, 0.98, SHARED_CORES
    ),
    PerformanceTarget(
        "score_over_pipeline",
        "`augrank score`, 1,000 images ÷ pipeline in process",
        0.95,
        0.98,
        "The command and its workers start in 1.3 s (imports), a tenth of the "
        "time of 1,000 images; of 10,000 it is a hundredth.",
    ),
    PerformanceTarget("server_over_forward", "server ÷ raw forward", 0.82, 0.90, SHARED_CORES),
    PerformanceTarget(
        "added_p50_ms",
        "added p50 of HTTP and queue, unloaded, ms",
        1.5,
        0.7,
        "Kept: Java's serial collector and simple compiler, its warm-up before the server is "
        "ready, no line of log per request, metrics gathered once a second, spinning off. "
        "Tried and dropped: Java's full compiler, raw bodies instead of JSON, TorchServe's "
        "asynchronous workers, which copy the model's context for every request.",
        less_is_better=True,
    ),
    PerformanceTarget(
        "worker_private_mb",
        "own memory of a worker after the load, MB",
        350,
        250,
        less_is_better=True,
        digits=0,
    ),
    PerformanceTarget("over_documented_fp32", "fp32 ÷ documented eager handler", 2.5, 4.0),
    PerformanceTarget("over_documented_int8", "int8 ÷ documented eager handler", 6.0, 10.0),
    PerformanceTarget(
        "over_tuned_documented_fp32",
        "fp32 ÷ the same with its threads tuned",
        2.5,
        4.0,
        "Eager torch on the same two threads runs the network at about onnxruntime's speed, so six "
        "passes cost what one batch does: only decoding, augmenting and predict_proba are left to "
        "gain. OpenVINO gains in the network too.",
    ),
    PerformanceTarget(
        "over_tuned_documented_int8",
        "int8 ÷ the same with its threads tuned",
        6.0,
        10.0,
        "int8 is faster in the network by the row below, which bounds the gain over six "
        "fp32 passes from above; OpenVINO passes this bar.",
    ),
    PerformanceTarget(
        "over_tuned_documented_fp32_openvino", "fp32 under OpenVINO ÷ the same", 2.5, 4.0
    ),
    PerformanceTarget(
        "over_tuned_documented_int8_openvino", "int8 under OpenVINO ÷ the same", 6.0, 10.0
    ),
    PerformanceTarget(
        "over_best_peer",
        "÷ best peer with the same runtime",
        0.98,
        1.1,
        "mosec's front end is Rust; TorchServe's is Java, which takes 1.4 to 2.2 ms of a core from "
        "the model for each request.",
    ),
    PerformanceTarget("int8_over_fp32", "raw forward, int8 ÷ fp32", 2.4, 3.0),
    PerformanceTarget(
        "openvino_over_onnxruntime_fp32", "fp32 graph: OpenVINO ÷ onnxruntime", 1.2, 1.5
    ),
    PerformanceTarget(
        "openvino_over_onnxruntime_int8", "int8 graph: OpenVINO ÷ onnxruntime", 1.2, 1.5
    ),
    PerformanceTarget(
        "head_share",
        "head's share of a request",
        0.01,
        0.003,
        "Scoring includes the catalogue's alternates if their context is new.",
        less_is_better=True,
    ),
    PerformanceTarget(
        "open_loop_p99_over_p50",
        "open loop at 70 %: p99 ÷ unloaded p50",
        5.0,
        3.5,
        less_is_better=True,
    ),
    PerformanceTarget(
        "cache_hit_over_miss",
        "cache: miss ÷ hit, time of a request",
        50.0,
        100.0,
        "A hit is all HTTP and queue (see below), a miss is the model: the faster the model, the "
        "smaller the ratio.",
    ),
    PerformanceTarget(
        "thumbnails_over_plain", "throughput with eight thumbnails ÷ without", 0.95, 0.98
    ),
)
# The bound and aim of server_over_forward: the faster the graph, the larger the server's share.
FORWARD_BOUNDS: dict[Precision, tuple[float, float]] = {"fp32": (0.92, 0.96), "int8": (0.82, 0.90)}
# Keys of results.json's "overload"; lone_after_over_before is computed from two of them.
OVERLOAD = (
    PerformanceTarget(
        "admitted_over_busiest",
        "overload: p99 of those admitted ÷ p99 at the busiest load",
        3.0,
        3.0,
        less_is_better=True,
    ),
    PerformanceTarget(
        "refused_p50_ms", "overload: p50 of a refusal (503), ms", 10.0, 5.0, less_is_better=True
    ),
    PerformanceTarget(
        "otherwise_failed", "overload: failed otherwise", 0.0, 0.0, less_is_better=True
    ),
    PerformanceTarget(
        "lone_after_over_before",
        "overload: lone p50 five seconds after ÷ before",
        1.25,
        1.1,
        less_is_better=True,
    ),
)
# Keys of the ratios of ``python -m benchmarks classify``.
CLASSIFY = (
    PerformanceTarget(
        "server_over_pipeline", "server ÷ pipeline in process", 0.95, 0.98, SHARED_CORES
    ),
    PerformanceTarget(
        "images_over_candidates",
        "images ÷ candidates of a recommender, in process",
        0.95,
        1.0,
        "A classifier decodes every image; all candidates of a request are made of one.",
    ),
)
# Keys of the int8 graph's row of the parity gate.
INT8_PARITY = (
    PerformanceTarget("embedding_cosine", "int8: least embedding cosine", 0.99, 0.995),
    PerformanceTarget("regret", "int8: regret", 0.005, 0.001, less_is_better=True),
    PerformanceTarget("verdict_changes", "int8: other verdict", 0.01, 0.0, less_is_better=True),
)


def classify_target_rows(results: Results) -> list[list[str]]:
    """Return a table row for each target of a classifier whose ratio these results contain."""
    ratios = results["ratios"]
    return [target.row(ratios[target.name]) for target in CLASSIFY if target.name in ratios]


def target_rows(results: Results) -> list[list[str]]:
    """Return a table row for each target whose figure these results contain."""
    chosen = results["chosen"].split(",")[0]
    bound, aim = FORWARD_BOUNDS.get(chosen, FORWARD_BOUNDS["fp32"])
    rows = []
    for target in RATIOS:
        if target.name == "server_over_forward":
            target = replace(target, bound=bound, aim=aim)
        if (figure := results["ratios"].get(target.name)) is not None:
            rows.append(target.row(figure))
    overload = dict(results["overload"])
    overload["lone_after_over_before"] = round(
        overload["lone_p50_5_s_after_ms"] / overload["lone_p50_before_ms"], 3
    )
    rows += [
        target.row(single(overload[target.name]))
        for target in OVERLOAD
        if overload[target.name] is not None  # no request was refused
    ]
    if parity := results["model"]["parity"].get("int8"):
        rows += [target.row(single(parity[target.name])) for target in INT8_PARITY]
    return rows
