"""``python -m benchmarks training``: how fast it is, against machine and plain script."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from augrank.cli_errors import friendly_errors
from augrank.cores import usable_cores
from augrank.errors import BadRequest, one_of
from benchmarks.telling import timed_notes, typed_command

console = Console()


@friendly_errors
def training(
    quick: Annotated[bool, typer.Option("--quick", help="Three minutes; wide intervals.")] = False,
    backbones: Annotated[
        str | None, typer.Option(help="Comma-separated (default: resnet18,resnet34,resnet50).")
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Sides, pixels, comma-separated (default: 96,224).")
    ] = None,
    out: Annotated[Path, typer.Option(help="results.json and plots/ go here.")] = Path(
        "build/bench/training"
    ),
) -> None:
    """Time training on rendered pictures: what the arithmetic can do, what the input lets it do.

    Also the loader alone against ImageFolder, more processes against one, and whole runs against
    the script that a user would write. All in turns, in one run. On a GPU also the seeds' job:
    ResNet-34, 224 px, 32,370 pictures, 10 epochs.
    """
    from benchmarks.training.measure import (
        FULL,
        QUICK,
        measure_backbone,
        measure_compiled,
        measure_input,
        prepared,
        start,
    )
    from benchmarks.training.report import Measured, draw, ratios_table, result_json, shown
    from benchmarks.training.runs import measure_job, measure_runs, measure_scaling
    from training.config import Architecture
    from training.render import render_catalogue

    effort = QUICK if quick else FULL
    if backbones is not None:
        known = get_args(Architecture)
        for name in backbones.split(","):
            if name not in known:
                raise BadRequest("no such backbone", expected=one_of(known, name), got=name)
        asked = cast(tuple[Architecture, ...], tuple(backbones.split(",")))
        effort = replace(effort, backbones=asked)
    if sizes is not None:
        effort = replace(effort, sizes=_sizes(sizes))
    note = timed_notes()
    engine = start(threads := usable_cores())
    if engine.is_cuda and sizes is None:
        effort = replace(effort, sizes=tuple(sorted(effort.sizes, reverse=True)))
    scratch = out / "work"
    note(f"rendering {effort.pictures} pictures")
    render_catalogue("sneaker", effort.pictures, scratch / "pictures")
    images = scratch / "pictures" / "images"
    data = {size: prepared(images, scratch, size) for size in effort.sizes}
    seen = [
        measure_backbone(data[size], backbone, engine, effort, note)
        for backbone in effort.backbones
        for size in effort.sizes
    ]
    inputs = [
        measure_input(data[size], images.parent, scratch, engine, effort, note)
        for size in effort.sizes
    ]
    runs = measure_runs(images, scratch, effort, note)
    scaling = measure_scaling(images, scratch, effort, note)
    first = data[effort.sizes[0]], effort.backbones[0]
    compiled = None if quick else measure_compiled(*first, engine, effort, note)
    job = measure_job(scratch, note) if engine.is_cuda and not quick else None
    measured = Measured(engine, threads, effort, seen, inputs, runs, scaling, compiled, job)
    content = result_json(measured, typed_command())
    draw(content, out / "plots")
    (out / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(shown(content))
    console.print(ratios_table(content))
    if quick:
        console.print("This was a quick run: for figures to keep, run it without --quick.")
    print(json.dumps(content, allow_nan=False))


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and 32 <= int(part) <= 1024 for part in parts):
        raise BadRequest("--sizes does not fit", expected="32 to 1024, such as 96,224", got=text)
    return tuple(map(int, parts))
