"""docs/performance.md from the benchmarks' results.json files, one section each."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from augrank.errors import DataError, one_of
from benchmarks.common.markdown import Result, shown, table, typed_as, verdict
from benchmarks.serving.pipeline import STAGES
from benchmarks.serving.report import targets
from benchmarks.training.document import training_section

HEADING = r"(?m)^(?=## )"
OPENING = (
    "# Performance\n\n"
    "Each section is made by `python -m benchmarks document RESULTS.json` from the results of the "
    "command that it names, on the machine that it names, and not edited by hand. Medians with "
    "95 % bootstrap intervals, or with the range where there are fewer than six measurements. "
    "Ratios are of measurements taken in turn in one run."
)


def performance_document(results: Sequence[Result], former: str = "") -> str:
    """The whole document: a section for each result, and those that were there already.

    Args:
        results: contents of results.json files.
        former: the document before. A section of the same heading is replaced in its place.

    Raises:
        DataError: a file holds no benchmark's results.
    """
    sections = {section.splitlines()[0]: section for section in re.split(HEADING, former)[1:]}
    for result in results:
        name = result.get("benchmark")
        if name not in SECTIONS:
            raise DataError("no benchmark's results", expected=one_of(SECTIONS), got=repr(name))
        heading, *parts = SECTIONS[name](result)
        sections[heading] = "\n\n".join([heading, *parts])
    return "\n\n".join([OPENING, *(section.strip() for section in sections.values())]) + "\n"


def _pipeline(result: Result) -> list[str]:
    model = result["model"]
    rows = [
        [
            f"{row['precision']}, {row['image']}",
            *(shown(row["stages_ms"][stage]) for stage in STAGES),
            shown(row["forward_ms"]),
            shown(row["pipeline_over_forward"]),
        ]
        for row in result["results"]
    ]
    headings = ["graph, image", *(f"{s}, ms" for s in STAGES), "raw forward, ms",
                "forward ÷ request"]  # fmt: skip
    return [
        f"## One request in process: {model['backbone']}",
        f"{_model(model)} `catalogue` is a small file of the catalogue, `photo` a 12-megapixel "
        "JPEG. Raw forward is the backbone alone on as many candidates, timed right after each "
        f"request. {_machine(result)} {result['rounds']} requests a row. {typed_as(result)}",
        table(headings, rows),
    ]


def _serving(result: Result) -> list[str]:
    model, controls = result["model"], result["controls"]
    quick = " A quick run: intervals are wide." if result["quick"] else ""
    parts = [
        f"## Serving: {model['backbone']}",
        f"{_model(model)} {_machine(result)} {result['plan']}. {result['rounds']} rounds.{quick} "
        f"{typed_as(result)}",
        table(["ratio, in one run", "measured", "at least", "aim", ""], _targets(result)),
        "Less is better where the bound says `≤`. The end of the interval that is nearer to the "
        "bound counts.",
        _explained(result),
        table(
            ["server at its peak", "answers/s", "candidates/s", "P50, ms", "P99, ms",
             "lone client, ms", "clients", "failed"],
            [
                [row["Model"], shown(row["TS throughput"]), f"{row['Candidates per s']:.1f}",
                 f"{row['TS latency P50']:.1f}", f"{row['TS latency P99']:.1f}",
                 f"{row['Lone latency P50']:.1f}", str(row["Concurrency"]),
                 str(row["TS failed requests"])]
                for row in result["servers"]
            ],
        ),
        "Controls: "
        + "; ".join(
            f"{name}: pipeline in process {shown(controls['pipeline_per_s'][name])} requests/s, "
            f"raw forward {shown(controls['forward_per_s'][name])}/s = "
            f"{controls['forward_gigaops'][name]:.0f} {'GOP/s' if name == 'int8' else 'GFLOP/s'}"
            for name in controls["pipeline_per_s"]
        )
        + f"; float32 GEMM, best of two {controls['gemm_gigaflops']:.0f} GFLOP/s.",
        table(
            ["open loop, of the peak", "offered/s", "requests", "failed", "p50, ms", "p90, ms",
             "p99, ms"],
            [
                [f"{row['share_of_peak']:.0%}", f"{row['offered_per_s']:.1f}", str(row["requests"]),
                 str(row["failed"]), f"{row['p50_ms']:.1f}", f"{row['p90_ms']:.1f}",
                 f"{row['p99_ms']:.1f}"]
                for row in result["open_loop"]
            ],
        ),
        _overload(result["overload"]),
        table(
            ["a lone request's time, ms", *STAGES],
            [
                [name, *(f"{row[stage]:.2f}" for stage in STAGES)]
                for name, row in result["stages_ms"].items()
            ],
        ),
        _mlperf(result["mlperf_loadgen"]),
    ]  # fmt: skip
    if len(result["scaling_per_s"]) > 1:
        rates = ", ".join(f"{n}: {rate:.1f}" for n, rate in result["scaling_per_s"].items())
        parts.append(f"Answers per second by workers of one thread: {rates}.")
    parity = [
        [name, f"{row['embedding_cosine']:.4f}", f"{row['rank_correlation']:.4f}",
         f"{row['top1_agreement']:.1%}", f"{row['max_probability_difference']:.3f}"]
        for name, row in model["parity"].items()
    ]  # fmt: skip
    parts.append(
        table(["graph, by the parity gate", "least embedding cosine", "Spearman of p",
               "best candidate the same", "max |Δp|"], parity)
    )  # fmt: skip
    parts.append(f"The bundle's default is {model['default_precision']}, as its gate decided.")
    if result["skipped"]:
        parts.append("Did not run: " + "; ".join(f"{n}: {w}" for n, w in result["skipped"].items()))
    return parts


def _targets(result: Result) -> list[list[str]]:
    rows = []
    for target in targets(result["model"]["backbone"]):
        figure = result["ratios"].get(target["ratio"])
        if figure is not None:
            rows.append(verdict(target, figure))
    seen = result["overload"]
    one = {
        "overload: p99 of those admitted ÷ p99 at the busiest load": (
            seen["admitted_over_busiest"], 3.0, 3.0, True),
        "overload: p50 of a refusal (503), ms": (seen["refused_p50_ms"], 10.0, 5.0, True),
        "overload: failed otherwise": (seen["otherwise_failed"], 0.0, 0.0, True),
        "overload: lone p50 five seconds after ÷ before": (
            round(seen["lone_p50_5_s_after_ms"] / seen["lone_p50_before_ms"], 3), 1.25, 1.1, True),
    }  # fmt: skip
    if parity := result["model"]["parity"].get("int8"):
        one |= {
            "int8: least embedding cosine": (parity["embedding_cosine"], 0.99, 0.995, False),
            "int8: Spearman of p": (parity["rank_correlation"], 0.97, 0.99, False),
            "int8: best candidate the same": (parity["top1_agreement"], 0.95, 0.98, False),
        }
    for title, (value, bound, aim, less) in one.items():
        if value is None:  # nothing was refused
            continue
        target = {"title": title, "bound": bound, "aim": aim, "less_is_better": less, "tried": ""}
        rows.append(verdict(target, dict.fromkeys(("median", "low", "high"), value)))
    return rows


def _explained(result: Result) -> str:
    """What the misses come from, as far as this run shows it."""
    added, cache = result["ratios"]["added_p50_ms"]["median"], result["cache_ms"]
    lone = {row["Model"]: row["Lone latency P50"] for row in result["servers"]}
    stages = result["stages_ms"]
    peers = ", ".join(
        f"{name} {lone[name] - stages[name]['total']:.1f}"
        for name in stages
        if not name.startswith("augrank")
    )
    text = (
        f"Where the added {added:.1f} ms come from: HTTP, queue, worker and JSON take "
        f"{cache['hit']['median']:.1f} ms where nothing is computed (a cached answer, warm); the "
        "rest appears only after a forward pass, which leaves the caches to the model and the "
        "server's threads asleep."
    )
    if peers:
        text += f" Other servers add, in ms: {peers}."
    miss, hit = cache["miss"]["median"], cache["hit"]["median"]
    return text + (
        f" A cached answer is {miss / hit:.0f} times faster than one computed in {miss:.0f} ms; "
        "the faster the model, the smaller that ratio."
    )


def _overload(seen: Mapping[str, Any]) -> str:
    return (
        f"Overload at three times the peak: {seen['answered']} of {seen['requests']} requests "
        f"answered ({seen['answered_per_s']}/s), {seen['refused_503']} refused with 503 (p50 "
        f"{seen['refused_p50_ms']} ms, p99 {seen['refused_p99_ms']} ms), "
        f"{seen['otherwise_failed']} failed otherwise. p99 of those admitted "
        f"{seen['admitted_p99_ms']} ms, {seen['admitted_over_busiest']} times that at the busiest "
        f"open loop. A lone request took {seen['lone_p50_before_ms']} ms before and "
        f"{seen['lone_p50_5_s_after_ms']} ms five seconds after."
    )


def _mlperf(scenarios: Mapping[str, Any]) -> str:
    if "skipped" in scenarios:
        return f"MLPerf LoadGen: {scenarios['skipped']}."
    rows = [
        [name, "; ".join(f"{key}: {_number(value)}" for key, value in figures.items())]
        for name, figures in scenarios.items()
    ]
    return table(["MLPerf LoadGen", "as it reports"], rows)


def _number(value: object) -> str:
    return f"{value:,.2f}".removesuffix(".00") if isinstance(value, int | float) else str(value)


def _model(model: Mapping[str, Any]) -> str:
    return (
        f"{model['backbone']} at {model['image_size']} px, {model['candidates']} candidates, "
        f"{model['alternates']} alternates."
    )


def _machine(result: Result) -> str:
    host = result["machine"]
    version = host["libraries"].get("onnxruntime", "-")
    return f"{host['processor']}, {host['cores']} cores; onnxruntime {version}."


SECTIONS: dict[str, Callable[[Result], list[str]]] = {
    "pipeline": _pipeline,
    "serving": _serving,
    "training": training_section,
}
