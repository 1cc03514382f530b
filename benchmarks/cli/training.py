"""``python -m benchmarks training``: training speed, against hardware limits and a script."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, one_of
from augrank.files import check_output_folder
from augrank.reporting import Table
from benchmarks.cli.output import print_results, write_results
from benchmarks.cli.reporter import TimedReporter
from benchmarks.common.command import command_line

if TYPE_CHECKING:
    from augrank.contracts.run import BackboneName
    from benchmarks.training.measurements import TrainingBenchConfig

MIN_SIZE_PX, MAX_SIZE_PX = 32, 1024


@friendly_errors
def training(
    quick: Annotated[
        bool, typer.Option("--quick", help="Finish in five minutes, with wide intervals.")
    ] = False,
    backbones: Annotated[
        str | None,
        typer.Option(help="Backbones, comma-separated (default: resnet18,resnet34,resnet50)."),
    ] = None,
    sizes: Annotated[
        str | None, typer.Option(help="Image sides in pixels, comma-separated (default: 96,224).")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json and plots/.")] = Path(
        "build/bench/training"
    ),
) -> None:
    """Time training on rendered images: synthetic ceiling, real images, embeddings, whole runs.

    Also times the loader alone against ImageFolder, several processes against one, and whole runs
    against the script that a user would write, all in turns, in one run. On a GPU, also times the
    first experiments' job: ResNet-34, 224 px, 32,370 images, 10 epochs.

    After an interrupt, run it again: it resumes after the last measured part.
    """
    from benchmarks.cli.tables import training_ratios_table, training_table
    from benchmarks.training.benchmark import run_benchmark
    from benchmarks.training.report import draw_all, result_json

    check_output_folder(out)
    config = _config(quick, backbones, sizes)
    measured, partial_results = run_benchmark(config, out / "work", TimedReporter())
    content = result_json(measured, command_line())
    draw_all(content, out / "plots")
    write_results(out, content)
    partial_results.delete()
    print_results(content, training_table(content), training_ratios_table(content))


@friendly_errors
def neighbours(
    backbone: Annotated[str, typer.Option(help="Backbone.")] = "resnet18",
    size: Annotated[
        int, typer.Option(min=MIN_SIZE_PX, max=MAX_SIZE_PX, help="Side of images, pixels.")
    ] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for results.json.")] = Path(
        "build/bench/neighbours"
    ),
) -> None:
    """Time training beside a busy core, and two trainings at once, against one alone.

    The command `training` has these rows, too; this one takes them without the rest.
    """
    from augrank.resources import usable_cores
    from benchmarks.common.machine import machine
    from benchmarks.common.results import RESULTS_VERSION
    from benchmarks.training.neighbours import measure_neighbours, neighbour_rows

    check_output_folder(out)
    (name,) = _backbones(backbone)
    measured = measure_neighbours(name, size, rounds, out / "work", TimedReporter())
    content = {
        "benchmark": "neighbours",
        "results_version": RESULTS_VERSION,
        "command": command_line(),
        "machine": machine(usable_cores()),
        "backbone": name,
        "size": size,
        "rates": asdict(measured),
        "ratios": {key: ratio.to_dict() for key, ratio in measured.ratios().items()},
    }
    write_results(out, content)
    columns = ("figure", "measured", "at least", "aim", "")
    print_results(content, Table("Beside other processes", columns, neighbour_rows(content)))


@friendly_errors
def histories(
    rows: Annotated[
        str, typer.Option(help="Rows of each history, comma-separated.")
    ] = "1000000,10000000",
    out: Annotated[Path, typer.Option(help="Folder for results.json and the histories.")] = Path(
        "build/bench/histories"
    ),
) -> None:
    """Time `training fit`, and its memory, on ten thousand, a million and ten million rows.

    The histories are simulated for the example catalogue first, and kept in the folder of results:
    0.3 and 3 GB.
    """
    from augrank.resources import usable_cores
    from benchmarks.common.machine import machine
    from benchmarks.common.results import RESULTS_VERSION
    from benchmarks.training.histories import (
        history_results,
        history_rows,
        measure_histories,
    )

    check_output_folder(out)
    lengths = _lengths(rows)
    content = {
        "benchmark": "histories",
        "results_version": RESULTS_VERSION,
        "command": command_line(),
        "machine": machine(usable_cores()),
        **history_results(measure_histories(lengths, out / "work", TimedReporter())),
    }
    write_results(out, content)
    columns = ("figure", "measured", "at most", "aim", "")
    print_results(content, Table("Training on long histories", columns, history_rows(content)))


def _config(quick: bool, backbones: str | None, sizes: str | None) -> "TrainingBenchConfig":
    from benchmarks.training import measurements

    config = measurements.QUICK if quick else measurements.FULL
    if backbones is not None:
        config = replace(config, backbones=_backbones(backbones))
    if sizes is not None:
        return replace(config, sizes=_sizes(sizes))
    return measurements.with_device_sizes(config)


def _backbones(text: str) -> "tuple[BackboneName, ...]":
    from augrank.contracts.run import BackboneName

    known, names = get_args(BackboneName), text.split(",")
    for name in names:
        if name not in known:
            raise BadRequest("unknown backbone", expected=one_of(known, name), got=name)
    return cast(tuple[BackboneName, ...], tuple(names))


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and MIN_SIZE_PX <= int(part) <= MAX_SIZE_PX for part in parts):
        raise BadRequest(
            "--sizes does not fit",
            expected=f"{MIN_SIZE_PX} to {MAX_SIZE_PX}, such as 96,224",
            got=text,
        )
    return tuple(map(int, parts))


def _lengths(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise BadRequest(
            "--rows does not fit", expected="whole numbers, such as 1000000,10000000", got=text
        )
    return tuple(map(int, parts))
