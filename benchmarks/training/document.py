"""The training benchmark's section of docs/performance.md."""

from typing import Any

import numpy as np

from benchmarks.markdown import Result, shown, table, typed_as, verdict
from benchmarks.training.targets import TARGETS

METHOD = (
    "Every row is measured in turns in one run. Synthetic: the same batch of normalised tensors "
    "again and again, which is what the arithmetic can do; real: pictures from the store, with "
    "windows, augmentations and normalisation. Embeddings: the pass that heads learn from; eager: "
    "the same pass by torch as it comes, in float32. Memory is the process's at its most."
)
RUNS = (
    "Whole runs, from the start of the process to its end, against the script that a user would "
    "write (`benchmarks/training/naive.py`: one process, PIL, eager float32, each picture decoded "
    "in each epoch, plateau schedule), on the same splits, with the same optimiser, batch and "
    "number of epochs."
)


def training_section(result: Result) -> list[str]:
    """The section's paragraphs."""
    host = result["machine"]
    quick = " A quick run: intervals are wide." if result["quick"] else ""
    first = result["backbones"][0]
    ratios = [
        verdict(
            {"title": each.words, "bound": each.least, "aim": each.aim, "less_is_better": False,
             "tried": each.tried},
            result["ratios"][each.name],
        )
        for each in TARGETS
    ]  # fmt: skip
    return [
        f"## Training: {result['engine']}",
        f"{host['processor']}, {host['cores']} cores; torch {result['torch']}. "
        f"{result['pictures']:,} rendered pictures.{quick} {typed_as(result)}",
        f"Ratios of {first['backbone']} at {first['size']} px:",
        table(["ratio, in one run", "measured", "at least", "aim", ""], ratios),
        METHOD,
        _speeds(result),
        "The loader alone, no network: pictures a second.",
        _inputs(result),
        RUNS,
        _runs(result),
        _processes(result),
        *([_compiled(result["compiled"])] if result["compiled"] else []),
    ]


def _speeds(result: Result) -> str:
    rows = [
        [
            row["backbone"], str(row["size"]),
            *(shown(row[name], 0) for name in ("synthetic", "real")),
            shown(row["real_over_synthetic"], 3), f"{row['waiting']:.1%}",
            *(shown(row[name], 0) for name in ("embed", "eager")),
            shown(row["embed_over_eager"]), f"{row['peak_mb']:,}",
        ]
        for row in result["backbones"]
    ]  # fmt: skip
    headings = ["backbone", "px", "synthetic, /s", "real, /s", "real ÷ synthetic", "waiting",
                "embeddings, /s", "eager, /s", "÷", "memory, MB"]  # fmt: skip
    return table(headings, rows)


def _inputs(result: Result) -> str:
    names = ("imagefolder", "cold", "warm")
    rows = [[str(row["size"]), *(shown(row[n], 0) for n in names)] for row in result["inputs"]]
    return table(["px", "ImageFolder + PIL", "ours, cold", "ours, warm"], rows)


def _runs(result: Result) -> str:
    runs: dict[str, Any] = result["runs"]
    rows = [
        [name, *(f"{np.median(runs[key]):.{digits}f}" for key, digits in keys)]
        for name, keys in (
            ("ours", (("ours_s", 0), ("ours_accuracy", 3))),
            ("the plain script", (("naive_s", 0), ("naive_accuracy", 3))),
        )
    ]
    return table([f"{result['epochs']} epochs", "seconds", "test accuracy"], rows)


def _processes(result: Result) -> str:
    runs = result["runs"]
    one, two, shared = (
        np.median(runs[key]) for key in ("one_process", "two_processes", "two_processes_one_batch")
    )
    return (
        f"One process on one core: {one:.0f} pictures a second; two under torchrun, a core each: "
        f"{two:.0f} where each takes a batch of its own, {shared:.0f} ({shared / one:.2f} times) "
        "where they share one: half a batch keeps a core less busy, and each step's fixed costs "
        "come as often."
    )


def _compiled(seen: Result) -> str:
    ratio = seen["compiled_over_eager"]
    return (
        f"torch.compile, {seen['backbone']} at {seen['size']} px: {shown(ratio)} times the speed "
        f"of training as it comes, after a first step of {seen['first_step_s']:.0f} s."
    )
