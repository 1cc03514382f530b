"""``python -m training render|simulate``: generate data for trying the other commands."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from augrank.cli.options import pairs
from augrank.errors import DataError
from augrank.files import check_output_file, check_output_folder
from augrank.images.augmentations import augmentation_set
from training.cli.command import command_reporter


class KindName(str, Enum):  # noqa: UP042 - typer shows the values of a plain Enum
    """Kinds of images that can be rendered."""

    sneaker = "sneaker"
    car = "car"
    review = "review"
    inventory = "inventory"


class RuleName(str, Enum):  # noqa: UP042
    """Rules of simulated engagement."""

    seed = "seed"
    context = "context"


def simulate(
    manifest: Annotated[Path, typer.Option(help="Catalogue: CSV, Parquet or image folder.")],
    out: Annotated[Path, typer.Option(help="History to write: .csv or .parquet.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the images; by default the manifest's.")
    ] = None,
    rule: Annotated[
        RuleName,
        typer.Option(
            help="What converts. seed: brighter, rotate; context: depends on the campaign."
        ),
    ] = RuleName.seed,
    sends: Annotated[
        int, typer.Option(min=1, help="Number of sends of each candidate of each image.")
    ] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of campaigns and outcomes.")] = 0,
    augmentations: Annotated[
        str, typer.Option(help="Augmentation set: seed, email or a YAML file of your own.")
    ] = "seed",
    augmentation_seed: Annotated[
        int, typer.Option(min=0, help="Seed of the email set; give fit the same --seed.")
    ] = 0,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Map a column of another name: relative_im_path=photo. Repeatable."),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Skip bad rows instead of stopping.")
    ] = False,
) -> None:
    """Write a campaign history whose true probabilities are known."""
    with command_reporter() as reporter:
        from augrank.manifest.read import read_table
        from simulation.engagement import SimulationOptions
        from training.data.simulated_history import write_history

        check_output_file(out)
        folder = images or (manifest if manifest.is_dir() else manifest.parent)
        names = augmentation_set(augmentations, augmentation_seed).names
        table = read_table(manifest, pairs(column, "--column"))
        options = SimulationOptions(rule.value, sends, seed)
        history = write_history(table, folder, out, names, options, skip_bad_rows=skip_bad_rows)
        for note in history.notes:
            reporter.say(f"Manifest: {note}")
        if history.skipped:
            reporter.say(f"Left out {history.skipped:,} bad rows", style="warning")
        ceiling = history.engagement.ceiling.mean()
        reporter.say(
            f"{out}: {history.rows:,} rows of {history.originals:,} originals x {len(names)} "
            f"augmentations x {sends} sends; the best possible accuracy is {ceiling:.3f}"
        )
        option = "" if folder.resolve() == out.parent.resolve() else f" --images {folder}"
        reporter.say(f"Next: python -m training fit --manifest {out}{option} --out runs/{out.stem}")


def render(
    kind: Annotated[KindName, typer.Option(help="Kind of product to draw.")],
    count: Annotated[int, typer.Option(min=1, help="Number of images.")],
    out: Annotated[Path, typer.Option(help="Folder for images/ and manifest.csv.")],
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the products.")] = 0,
    size: Annotated[int, typer.Option(help="Image size in pixels.")] = 256,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes; by default the usable cores.")
    ] = None,
) -> None:
    """Draw a catalogue of product images, deterministic by seed."""
    with command_reporter(resumable=True) as reporter:
        from simulation.render import RenderOptions, render_catalogue

        check_output_folder(out)
        with reporter.bar("Rendering", count, "images") as advance:
            shown = 0

            def progress(done: int) -> None:
                nonlocal shown
                advance(done - shown)
                shown = done

            options = RenderOptions(seed, size, workers)
            try:
                report = render_catalogue(kind.value, count, out, options, progress=progress)
            except ValueError as error:
                raise DataError(str(error)) from error
        reporter.say(
            f"{report.manifest}: {report.count:,} images in {report.seconds:.1f} s "
            f"({report.images_per_s_per_core:.0f} images/s per core)"
            + (f", {report.skipped:,} already existed" if report.skipped else "")
        )
        labels = {"review": "kind", "inventory": "type,colour"}.get(kind.value)
        if labels is not None:
            reporter.say(
                f"Next: python -m training fit --task classify --manifest {report.manifest} "
                f"--labels {labels} --out runs/{out.name}"
            )
            return
        reporter.say(
            f"Next: python -m training simulate --manifest {report.manifest} "
            f"--out {out / 'history.csv'} --sends 2"
        )
