"""The training benchmark's section of docs/performance.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.common.markdown import Result, shown, table, typed_as, verdict
from benchmarks.common.statistics import Median
from benchmarks.training.targets import ACCURACY, H100, H100_JOB, H100_SIZE, RATIOS, SHARED, Target

METHOD = (
    "Every row is measured in turns in one run. Synthetic: the same batch of normalised tensors "
    "again and again, which is what the arithmetic can do; real: images from the store, with "
    "windows, augmentations and normalisation; cold: one epoch of a first run, before which every "
    "file (of the page cache) is read, hashed and decoded. Embeddings: the pass that heads learn "
    "from; eager: the same images through torchvision's network as it comes, in float32 and "
    "channels first. Memory is that of a process of its own, at its most."
)
RUNS = (
    "Whole runs, from the start of the process to its end, against the script that a user would "
    "write (`benchmarks/training/baseline_script.py`: one process, PIL, eager float32, each "
    "image decoded in each epoch, plateau schedule), on the same splits, with the same "
    "optimiser, batch and number of epochs, from other seeds each time. Of both the epoch that "
    "validates best is tested."
)


def training_section(result: Result) -> list[str]:
    """The section's paragraphs."""
    host = result["machine"]
    quick = " A quick run: intervals are wide." if result["quick"] else ""
    gpu = f", {result['gpu']}" if result["gpu"] else ""
    first = result["backbones"][0]
    figures = {**result["ratios"], **result["scaling"], **result}
    ratios = [_row(each, figures[each.name]) for each in (*RATIOS, SHARED, ACCURACY)]
    compiled = [
        f"{row['backbone']} {row['size']} px" for row in result["backbones"] if row["compiled"]
    ]
    return [
        f"## Training: {result['engine']}, {result['gpu'] or host['processor']}",
        f"{host['processor']}, {host['cores']} cores{gpu}; torch {result['torch']}. "
        f"{result['images']:,} rendered images.{quick} {typed_as(result)}",
        f"Ratios of {first['backbone']} at {first['size']} px:",
        table(["ratio, in one run", "measured", "at least", "aim", ""], ratios),
        METHOD,
        *([f"By torch.compile, as in long runs: {', '.join(compiled)}."] if compiled else []),
        _speeds(result),
        "The loader alone, no network: images a second. Cold: every file is read, hashed and "
        "decoded once and gives six candidates; ImageFolder decodes each image that it gives.",
        _inputs(result),
        RUNS,
        _runs(result),
        _processes(result["scaling"]),
        *([_compiled(result["compiled"])] if result["compiled"] else []),
        *([_job(result["job"])] if result["job"] else []),
        *(_h100(result) if "H100" in (result["gpu"] or "") else []),
    ]


def _row(target: Target, figure: Mapping[str, float], *, less: bool = False) -> list[str]:
    words = {"title": target.words, "bound": target.least, "aim": target.aim,
             "less_is_better": less, "tried": target.tried}  # fmt: skip
    return verdict(words, figure)


def _speeds(result: Result) -> str:
    rows = [
        [
            row["backbone"], str(row["size"]),
            *(shown(row[name], 0) for name in ("synthetic", "real", "cold")),
            shown(row["real_over_synthetic"], 3), f"{row['waiting']:.1%}",
            *(shown(row[name], 0) for name in ("embed", "eager")),
            shown(row["embed_over_eager"]), f"{row['peak_mb']:,}",
        ]
        for row in result["backbones"]
    ]  # fmt: skip
    headings = ["backbone", "px", "synthetic, /s", "real, /s", "cold, /s", "real ÷ synthetic",
                "waiting", "embeddings, /s", "eager, /s", "÷", "memory, MB"]  # fmt: skip
    return table(headings, rows)


def _inputs(result: Result) -> str:
    names = ("imagefolder", "cold", "warm")
    rows = [[str(row["size"]), *(shown(row[n], 0) for n in names)] for row in result["inputs"]]
    return table(["px", "ImageFolder + PIL", "ours, cold", "ours, warm"], rows)


def _runs(result: Result) -> str:
    runs: dict[str, Any] = result["runs"]
    rows = [
        [name, *(shown(Median.of(runs[key]).to_dict(), digits) for key, digits in keys)]
        for name, keys in (
            ("ours", (("ours_s", 0), ("ours_accuracy", 3))),
            ("the plain script", (("naive_s", 0), ("naive_accuracy", 3))),
        )
    ]
    return table([f"{result['epochs']} epochs", "seconds", "test accuracy"], rows)


def _processes(scaling: Result) -> str:
    rows = [
        [str(row["processes"]), shown(row["rate"], 0), shown(row["over_one"])]
        for row in scaling["rates"]
    ]
    headings = [f"processes, a {scaling['of']} and a batch each", "images/s", "÷ one"]
    return table(headings, rows)


def _compiled(seen: Result) -> str:
    ratio = seen["compiled_over_eager"]
    return (
        f"torch.compile, {seen['backbone']} at {seen['size']} px: {shown(ratio)} times the speed "
        f"of training as it comes, after a first step of {seen['first_step_s']:.0f} s."
    )


def _job(job: Result) -> str:
    return (
        f"The seeds' job, ResNet-34, 224 px, {job['images']:,} images x 10 epochs, start to "
        f"finish: {job['warm_s']:.0f} s; {job['cold_s']:.0f} s where the images are decoded "
        f"first. Test accuracy {job['accuracy']:.3f}."
    )


def _h100(result: Result) -> list[str]:
    """What an H100 should reach."""
    synthetic = {
        row["backbone"]: row["synthetic"] for row in result["backbones"] if row["size"] == H100_SIZE
    }
    rows = [_row(each, synthetic[each.name]) for each in H100 if each.name in synthetic]
    if result["job"]:
        seconds = result["job"]["warm_s"]
        rows.append(_row(H100_JOB, {"median": seconds, "low": seconds, "high": seconds}, less=True))
    return [table(["on an H100", "measured", "at least", "aim", ""], rows)]
