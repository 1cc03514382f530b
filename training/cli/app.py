"""``python -m training``: render images, simulate a history, fit a run."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from augrank.cli.options import pairs, spread
from augrank.cli.reporter import RichReporter
from augrank.errors import AugrankError, DataError
from augrank.images.augmentations import augmentation_set
from training.cli import download as cli_download
from training.cli import jobs as cli_jobs
from training.config import split_names
from training.distributed.rendezvous import under_torchrun
from training.tasks.run import run_fit

EXIT_USER, EXIT_INTERRUPT = 2, 130

app = typer.Typer(
    help="Images and outcomes to a trained run.\n\n"
    "Try it without data of your own:\n\n"
    "python -m training render --kind sneaker --count 300 --out data/sneakers\n\n"
    "python -m training simulate --manifest data/sneakers/manifest.csv "
    "--out data/sneakers/history.csv --sends 2\n\n"
    "python -m training fit --manifest data/sneakers/history.csv --out runs/sneakers "
    "--image-size 64",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class KindName(str, Enum):  # noqa: UP042 - typer shows the values of a plain Enum
    """What can be rendered."""

    sneaker = "sneaker"
    car = "car"


class RuleName(str, Enum):  # noqa: UP042
    """Rules of simulated engagement."""

    seed = "seed"
    context = "context"


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m training")


@app.command()
def fit(
    config: Annotated[
        Path | None,
        typer.Option(help="YAML or TOML file with any of these options; flags override it."),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="CSV or Parquet, one row per shown image.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the images (default: the manifest's). Without a manifest: every "
            "image in it, sub-folders as product types, no targets."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run directory.")] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Decoded images, embeddings, to share between runs (default: OUT/cache)."
        ),
    ] = None,
    cache_gb: Annotated[
        float | None,
        typer.Option(help="What the cache may take; the least recently used goes. (default: 50)"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Model name (default: the run directory's).")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column of another name: relative_im_path=photo. Repeatable."),
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Comma-separated (default: all that the manifest has).")
    ] = None,
    direction: Annotated[
        list[str] | None,
        typer.Option(help="Of a target of your own: refunds=minimize. Repeatable."),
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated columns, '' for none (default: campaign_type and industry, "
            "where present)."
        ),
    ] = None,
    augmentations: Annotated[
        str | None, typer.Option(help="seed, email or a YAML file. (default: seed)")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="resnet18, resnet34 or resnet50. (default: resnet18)")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="none, imagenet or a file. (default: none)")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels. (default: 224)")] = None,
    epochs: Annotated[int | None, typer.Option(help="(default: 10)")] = None,
    batch_size: Annotated[int | None, typer.Option(help="(default: 64)")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak. (default: 0.1)")] = None,
    momentum: Annotated[float | None, typer.Option(help="(default: 0.9)")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="(default: 0.0005)")] = None,
    schedule: Annotated[
        str | None, typer.Option(help="onecycle or plateau. (default: onecycle)")
    ] = None,
    freeze: Annotated[
        bool | None,
        typer.Option("--freeze", help="Train the last layer alone, on top of --weights."),
    ] = None,
    average: Annotated[
        float | None,
        typer.Option(
            help="Decay of the weights' moving average, which is kept: 0.999. (default: none)"
        ),
    ] = None,
    progressive: Annotated[
        int | None,
        typer.Option(
            help="Pixels in the first epoch; grows to --image-size over two thirds of the epochs. "
            "(default: the same size all along)"
        ),
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Pieces to take each batch in, to save memory. (default: 1)")
    ] = None,
    compile: Annotated[
        bool | None, typer.Option(help="By torch.compile. (default: long runs on a GPU)")
    ] = None,
    sync_bn: Annotated[
        bool | None,
        typer.Option("--sync-bn", help="Batch normalisation over all processes, on GPUs."),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(help="Mirror originals at random (default: where no augmentation does)."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32, bf16 or fp16, of training. (default: auto)")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. (default: auto)")] = None,
    threads: Annotated[int | None, typer.Option(help="(default: the usable cores)")] = None,
    seed: Annotated[int | None, typer.Option(help="(default: 0)")] = None,
    test_share: Annotated[float | None, typer.Option(help="(default: 0.2)")] = None,
    validation_share: Annotated[float | None, typer.Option(help="(default: 0.15)")] = None,
    baselines: Annotated[
        bool | None, typer.Option(help="Fit other models for comparison. (default: on)")
    ] = None,
    skip_bad_rows: Annotated[
        bool | None, typer.Option("--skip-bad-rows", help="Go on without bad rows.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Start anew in a run directory that is in use.")
    ] = False,
) -> None:
    """Train a backbone and the heads; the same command again resumes after an interrupt.

    On several GPUs: torchrun --standalone --nproc-per-node GPUS --max-restarts 3 -m training fit
    ...
    """
    options: dict[str, Any] = {
        "manifest": manifest,
        "images": images,
        "out": out,
        "cache": cache,
        "cache_gb": cache_gb,
        "name": name,
        "columns": pairs(column, "--column") or None,
        "targets": None if targets is None else split_names(targets),
        "directions": pairs(direction, "--direction") or None,
        "context": None if context is None else split_names(context),
        "augmentations": augmentations,
        "backbone": backbone,
        "weights": weights,
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "freeze": freeze,
        "average": average,
        "progressive": progressive,
        "accumulate": accumulate,
        "compile": compile,
        "sync_bn": sync_bn,
        "flip": flip,
        "precision": precision,
        "device": device,
        "threads": threads,
        "seed": seed,
        "test_share": test_share,
        "validation_share": validation_share,
        "baselines": baselines,
        "skip_bad_rows": skip_bad_rows,
    }
    with kind_errors(resumable=True) as reporter:
        run_fit(config, options, reporter, overwrite=overwrite)


@app.command()
def simulate(
    manifest: Annotated[Path, typer.Option(help="The catalogue: CSV, Parquet or image folder.")],
    out: Annotated[Path, typer.Option(help="The history to write: .csv or .parquet.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images (default: the manifest's).")
    ] = None,
    rule: Annotated[
        RuleName,
        typer.Option(
            help="seed: brighter and rotate convert. context: it depends on the campaign."
        ),
    ] = RuleName.seed,
    sends: Annotated[int, typer.Option(min=1, help="Of each candidate of each image.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of campaigns and outcomes.")] = 0,
    augmentations: Annotated[str, typer.Option(help="seed, email or a YAML file.")] = "seed",
    augmentation_seed: Annotated[
        int, typer.Option(min=0, help="Seed that fit will be given; draws the email set.")
    ] = 0,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column of another name: relative_im_path=photo. Repeatable."),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Go on without bad rows.")
    ] = False,
) -> None:
    """Write a campaign history whose true probabilities are known."""
    with kind_errors() as reporter:
        from simulation.engagement import SimulationOptions
        from training.data.manifest.read import read_table
        from training.data.simulated_history import write_history

        folder = images or (manifest if manifest.is_dir() else manifest.parent)
        names = augmentation_set(augmentations, augmentation_seed).names
        table = read_table(manifest, pairs(column, "--column"))
        made = write_history(
            table,
            folder,
            out,
            names,
            SimulationOptions(rule.value, sends, seed),
            skip_bad_rows=skip_bad_rows,
        )
        for note in made.notes:
            reporter.say(f"Manifest: {note}")
        if made.skipped:
            reporter.say(f"Left out {made.skipped:,} bad rows", style="warning")
        ceiling = made.engagement.ceiling.mean()
        reporter.say(
            f"{out}: {made.rows:,} rows of {made.originals:,} originals x {len(names)} "
            f"augmentations x {sends} sends; the best possible accuracy is {ceiling:.3f}"
        )
        place = "" if folder.resolve() == out.parent.resolve() else f" --images {folder}"
        reporter.say(f"Next: python -m training fit --manifest {out}{place} --out runs/{out.stem}")


@app.command()
def render(
    kind: Annotated[KindName, typer.Option(help="What to draw.")],
    count: Annotated[int, typer.Option(min=1, help="How many images.")],
    out: Annotated[Path, typer.Option(help="Folder: images/ and manifest.csv.")],
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other products.")] = 0,
    size: Annotated[int, typer.Option(help="Side, pixels.")] = 256,
    workers: Annotated[int | None, typer.Option(help="(default: the usable cores)")] = None,
) -> None:
    """Draw a catalogue of product images, deterministic by seed."""
    with kind_errors(resumable=True) as reporter:
        from simulation.render import RenderOptions, render_catalogue

        with reporter.bar("Rendering", count, "images") as advance:
            shown = 0

            def progress(done: int) -> None:
                nonlocal shown
                advance(done - shown)
                shown = done

            try:
                report = render_catalogue(
                    kind.value, count, out, RenderOptions(seed, size, workers), progress=progress
                )
            except ValueError as error:
                raise DataError(str(error)) from error
        reporter.say(
            f"{report.manifest}: {report.count:,} images in {report.seconds:.1f} s "
            f"({report.images_per_s_per_core:.0f} images/s a core)"
            + (f", {report.skipped:,} were there already" if report.skipped else "")
        )
        reporter.say(
            f"Next: python -m training simulate --manifest {report.manifest} "
            f"--out {out / 'history.csv'} --sends 2"
        )


app.command()(cli_download.download)
app.command()(spread(cli_jobs.tune))
app.command()(spread(cli_jobs.submit))


def _same_command() -> str:
    """As it was typed, but for what would start anew."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return shlex.join(["torchrun", "...", "-m", "training", *words])
    return shlex.join(["python", "-m", "training", *words])


@contextmanager
def kind_errors(*, resumable: bool = False) -> Iterator[RichReporter]:
    """A reporter; errors that are the user's to mend become a short message and exit code 2."""
    # SageMaker and torchrun stop a job by SIGTERM.
    stop = signal.default_int_handler if resumable else signal.getsignal(signal.SIGTERM)
    before = signal.signal(signal.SIGTERM, stop)
    says = os.environ.get("LOCAL_RANK", "0") == "0"  # of a machine's processes, one says it
    try:
        yield RichReporter()
    except AugrankError as error:
        if says:
            console = Console(stderr=True)
            console.print("Error: ", style="bold red", end="")
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USER) from None
    except KeyboardInterrupt:
        line = "Interrupted."
        if resumable:
            unless = "unless torchrun starts again, " if under_torchrun() else ""
            line += f" What is done is kept; {unless}go on with: {_same_command()}"
        if says:
            Console(stderr=True).print(line, style="yellow", markup=False, soft_wrap=True)
        raise typer.Exit(EXIT_INTERRUPT) from None
    finally:
        signal.signal(signal.SIGTERM, before)
