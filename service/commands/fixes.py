"""``python -m service fixes``: corrections of people, out as files and in again."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, reason
from augrank.files import atomic_write, check_output_file, disk_errors
from service.commands.opened import opened_database
from service.commands.options import DatabaseOption, FolderOption
from service.settings import ServiceSettings, read_settings

if TYPE_CHECKING:
    from service.database.session import Database

EXIT_REFUSED = 1
MAX_SHOWN = 20  # rows that were not taken, of those that are listed

app = typer.Typer(
    no_args_is_help=True,
    help="Corrections of people: out as CSV, JSON lines or a Ground Truth manifest, and in again.",
)


class ExportFormat(StrEnum):
    """Formats of a file of fixes."""

    CSV = "csv"
    JSONL = "jsonl"
    GROUND_TRUTH = "ground_truth"


@app.command()
@friendly_errors
def export(
    out: Annotated[Path | None, typer.Option(help="File to write (default: print it).")] = None,
    format: Annotated[ExportFormat, typer.Option(help="Of the file.")] = ExportFormat.CSV,
    history: Annotated[bool, typer.Option(help="All rows, not what holds now.")] = False,
    advertiser: Annotated[str | None, typer.Option(help="Whose (default: all).")] = None,
    source_prefix: Annotated[
        str | None,
        typer.Option(help="Of a manifest's images, such as s3://bucket/kept/ (default: files)."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Whose classes a manifest has (default: the live model's)."),
    ] = None,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Write the fixes that hold now, or their history.

    The images of a manifest are the files in FOLDER/images/kept; copy that folder to
    --source-prefix if it is elsewhere (aws s3 sync).

    Example: python -m service fixes export --out fixes.csv
    """
    from service.fixes.exchange import Export, export_lines

    settings = read_settings(database=database, folder=folder)
    kept = f"{(settings.folder / 'images/kept').absolute()}/"
    asked = Export(format.value, history, advertiser, source_prefix or kept)
    with opened_database(settings) as opened:
        if format is ExportFormat.GROUND_TRUTH:
            classes, model = _live(opened, settings, bundle)
            asked = replace(asked, classes=classes, model=model)
        lines = export_lines(opened, asked)
        if out is None:
            sys.stdout.writelines(lines)
            return
        check_output_file(out)
        with (
            disk_errors(out.parent, "Free some space, and export again."),
            atomic_write(out) as partial,
            partial.open("w", encoding="utf-8", newline="") as stream,
        ):
            stream.writelines(lines)


@app.command(name="import")
@friendly_errors
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, a JSON array, or JSON lines.")],
    who: Annotated[str | None, typer.Option(help="Who says so, where a row names nobody.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Whose classes the values must be (default: any).")
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell what would come of it.")] = False,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Take the fixes of a file; rows that are not taken are listed, and the exit status is 1.

    Columns: advertiser, sha256 or image_url, label, value, who, why. The same file again changes
    nothing; a fix that holds is not overruled.

    Example: python -m service fixes import fixes.csv --dry-run
    """
    from service.access.identity import ANYBODY
    from service.fixes.intake import Intake, take_fixes
    from service.fixes.rows import read_rows
    from service.images.store import ImageStore

    try:
        rows = read_rows(file.read_bytes())
    except OSError as error:
        raise BadRequest(
            f"{file} cannot be read", expected="CSV or JSON", got=reason(error)
        ) from error
    settings = read_settings(database=database, folder=folder)
    images = ImageStore(settings.folder, int(settings.max_images_gb * 2**30))
    how = Intake(ANYBODY, _classes(bundle), who, dry_run)
    with opened_database(settings) as opened:
        done = take_fixes(opened, rows, how, images.keep)
    would = "would be " if dry_run else ""
    typer.echo(
        f"{done.rows:,} rows: {done.taken:,} {would}taken, {done.unchanged:,} unchanged, "
        f"{done.conflicts:,} conflicts, {done.bad:,} bad"
    )
    problems = sorted((each.row, each.reason) for each in done.bad_rows + done.conflict_rows)
    for row, why in problems[:MAX_SHOWN]:
        typer.echo(f"row {row}: {why}", err=True)
    if (more := done.bad + done.conflicts - MAX_SHOWN) > 0:
        typer.echo(f"... and {more:,} more", err=True)
    if problems:
        raise typer.Exit(EXIT_REFUSED)


def _live(
    opened: "Database", settings: ServiceSettings, bundle: Path | None
) -> tuple[Mapping[str, Sequence[str]], str | None]:
    """Return the classes of a bundle, by default the live model's, and the live model's digest."""
    from service.backends.bundles import CLASSIFY
    from service.errors import BundleExpired
    from service.models.registry import Registry

    registry = Registry(opened, settings.folder, settings.max_models)
    live = registry.live(CLASSIFY)
    if bundle is None and live is not None:
        try:
            bundle = registry.directory(live)
        except BundleExpired:
            typer.echo(
                "the live model's bundle is not in --folder: classes are numbered as fixes name "
                "them; give --bundle for the numbers of a model",
                err=True,
            )
    return _classes(bundle) or {}, live.digest if live else None


def _classes(bundle: Path | None) -> Mapping[str, Sequence[str]] | None:
    """Return the classes of each label of a bundle."""
    if bundle is None:
        return None
    from augrank.bundle.classify_spec import ClassifySpec
    from augrank.bundle.load import open_bundle

    with open_bundle(bundle, ClassifySpec) as opened:
        return {head.label: head.classes for head in opened.spec.heads}
