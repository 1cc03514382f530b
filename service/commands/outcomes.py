"""``python -m service outcomes``: what came of assignments, in and out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, reason
from augrank.files import check_output_folder, disk_errors
from service.commands.opened import opened_database
from service.commands.options import DatabaseOption, FolderOption
from service.settings import read_settings

if TYPE_CHECKING:
    pass

EXIT_REFUSED = 1
MAX_SHOWN = 20  # refused rows, of those that are listed

app = typer.Typer(
    no_args_is_help=True,
    help="What came of assignments: reports in, a folder for training out.\n\n"
    "python -m service outcomes export --out build/outcomes\n\n"
    "python -m training fit --manifest build/outcomes/manifest.csv --out runs/next",
)


@app.command()
@friendly_errors
def export(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    advertiser: Annotated[
        str | None, typer.Option(help="Whose outcomes (default: those of all).")
    ] = None,
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Write manifest.csv, augmentations.yaml and the image files, as training reads them.

    Example: python -m service outcomes export --out build/outcomes
    """
    from service.images.store import ImageStore
    from service.outcomes.export import AUGMENTATIONS, MANIFEST, export_outcomes

    settings = read_settings(database=database, folder=folder)
    check_output_folder(out)
    images = ImageStore(settings.folder, int(settings.max_images_gb * 2**30))
    with (
        opened_database(settings) as opened,
        disk_errors(out, "Free some space, and export again."),
    ):
        done = export_outcomes(opened, images, out, advertiser)
    typer.echo(f"{out / MANIFEST}: {done.rows:,} rows about {done.images:,} images")
    if done.missing:
        typer.echo(f"{len(done.missing):,} images are not kept any more: left out", err=True)
    if done.rows:
        typer.echo(f"python -m training fit --manifest {out / MANIFEST} --out RUN")
        typer.echo(f"  --augmentations {out / AUGMENTATIONS}  if they are not the set seed")


@app.command(name="import")
@friendly_errors
def import_(
    file: Annotated[Path, typer.Argument(help="CSV: assignment, successes, trials, ...")],
    advertiser: Annotated[str, typer.Option(help="Whose assignments they are about.")],
    who: Annotated[str, typer.Option(help="Who reports.")],
    database: DatabaseOption = None,
    folder: FolderOption = None,
) -> None:
    """Keep the reports of a CSV file; rows that do not fit are listed, and the exit status is 1.

    Columns: assignment, successes, trials; and if need be target, report, replaces. The same file
    again changes nothing.

    Example: python -m service outcomes import sent.csv --advertiser dealer_007 --who mailer
    """
    from service.outcomes.reports_file import import_reports

    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadRequest(
            f"{file} cannot be read", expected="a CSV file", got=reason(error)
        ) from error
    with opened_database(read_settings(database=database, folder=folder)) as opened:
        done = import_reports(opened, advertiser, data, who)
    typer.echo(f"{done.added:,} added, {done.known:,} known, {done.refused:,} refused")
    for line, why in done.errors[:MAX_SHOWN]:
        typer.echo(f"line {line}: {why}", err=True)
    if done.refused > MAX_SHOWN:
        typer.echo(f"... and {done.refused - MAX_SHOWN:,} more", err=True)
    if done.refused:
        raise typer.Exit(EXIT_REFUSED)
