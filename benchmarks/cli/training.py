"""``python -m benchmarks training``: how fast it is, against machine and plain script."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, DataError, one_of
from augrank.resources import usable_cores
from benchmarks.common.notes import timed_notes, typed_command

console = Console()


@friendly_errors
def training(
    quick: Annotated[bool, typer.Option("--quick", help="Five minutes; wide intervals.")] = False,
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
    """Time training on rendered images: what the arithmetic can do, what the input lets it do.

    Also the loader alone against ImageFolder, more processes against one, and whole runs against
    the script that a user would write. All in turns, in one run. On a GPU also the seeds' job:
    ResNet-34, 224 px, 32,370 images, 10 epochs.

    Run it again after an interrupt: it goes on after the last part that was measured.
    """
    from augrank.files import write_json
    from benchmarks.training.measure import (
        FULL,
        QUICK,
        Seen,
        SeenCompiled,
        SeenInput,
        measure_backbone,
        measure_compiled,
        measure_input,
        prepared,
        start,
    )
    from benchmarks.training.report import (
        Measured,
        draw,
        question,
        ratios_table,
        result_json,
        shown,
    )
    from benchmarks.training.resume import Parts
    from benchmarks.training.runs import (
        SeenJob,
        SeenRuns,
        SeenScaling,
        measure_job,
        measure_runs,
        measure_scaling,
    )
    from simulation.render import render_catalogue
    from training.config import Architecture

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
    parts = Parts(scratch / "measured.json", question(effort, engine, threads), note)
    note(f"rendering {effort.images} images")
    render_catalogue("sneaker", effort.images, scratch / "images")
    images = scratch / "images" / "images"
    data = {size: prepared(images, scratch, size) for size in effort.sizes}
    seen = [
        parts.part(f"{backbone}, {size} px", Seen, partial(
            measure_backbone, data[size], images, scratch, backbone, engine, effort, note
        ))
        for backbone in effort.backbones
        for size in effort.sizes
    ]  # fmt: skip
    job = compiled = None
    if not quick and engine.is_cuda:
        job = parts.part("the seeds' job", SeenJob, partial(measure_job, scratch, note))
    inputs = [
        parts.part(f"loader, {size} px", SeenInput, partial(
            measure_input, data[size], images.parent, scratch, engine, effort, note
        ))
        for size in effort.sizes
    ]  # fmt: skip
    whole_runs = partial(measure_runs, images, scratch, effort, note)
    runs = parts.part("whole runs", SeenRuns, whole_runs)
    more = partial(measure_scaling, scratch, effort, note)
    scaling = parts.part("processes", SeenScaling, more)
    if not quick:
        first = data[effort.sizes[0]], effort.backbones[0]
        as_graph = partial(measure_compiled, *first, engine, effort, note)
        try:
            compiled = parts.part("torch.compile", SeenCompiled, as_graph)
        except DataError as error:  # such as: this machine has no C compiler
            note(f"torch.compile is left out: {error}")
    measured = Measured(engine, threads, effort, seen, inputs, runs, scaling, compiled, job)
    content = result_json(measured, typed_command())
    draw(content, out / "plots")
    write_json(out / "results.json", content)
    parts.finish()
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
