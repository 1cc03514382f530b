"""``augrank recommend``: rank the versions of one image, and other images of the catalogue."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.cli.arguments import (
    BundleArgument,
    CandidatesOption,
    DeviceOption,
    MinLiftOption,
    PrecisionOption,
)
from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs
from augrank.contracts.manifest import CAMPAIGN_TYPE, INDUSTRY, PRODUCT_TYPE
from augrank.errors import BadRequest
from augrank.files import check_output_file
from augrank.images.augmentations import ORIGINAL
from augrank.images.decode import read_image
from augrank.tasks.recommend.response import AlternateScore, Answer, CandidateScore, Interval
from augrank.tasks.recommend.wording import decimals

console = Console()


@friendly_errors
def recommend(
    bundle: BundleArgument,
    image: Annotated[Path, typer.Argument(help="The image, such as a JPEG or PNG.")],
    target: Annotated[str | None, typer.Option(help="Target to predict, e.g. open_rate.")] = None,
    campaign_type: Annotated[str | None, typer.Option(help="Context, e.g. Newsletter.")] = None,
    industry: Annotated[str | None, typer.Option(help="Context, e.g. Automotive.")] = None,
    product_type: Annotated[
        str | None, typer.Option(help="Context; restricts alternates to this type.")
    ] = None,
    context: Annotated[
        list[str] | None, typer.Option(help="Further context as NAME=VALUE; repeatable.")
    ] = None,
    candidates: CandidatesOption = None,
    alternates: Annotated[
        int, typer.Option(min=0, max=100, help="Number of alternates to list.")
    ] = 5,
    min_lift: MinLiftOption = 0.0,
    augmentation: Annotated[
        str, typer.Option(help="Augmentation that was already applied to the image.")
    ] = ORIGINAL,
    precision: PrecisionOption = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Also write the ranked images to this PNG.")
    ] = None,
) -> None:
    """Rank the augmented versions of an image, and other images of the catalogue.

    Example: augrank recommend dist/bundle car.jpg --target open_rate
    --campaign-type Newsletter --industry Automotive
    """
    from augrank.tasks.recommend.contact_sheet import contact_sheet as draw
    from augrank.tasks.recommend.pipeline import Recommender

    named = {CAMPAIGN_TYPE: campaign_type, INDUSTRY: industry, PRODUCT_TYPE: product_type}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    given |= pairs(context, "--context")
    if contact_sheet is not None:
        check_output_file(contact_sheet, "--contact-sheet")
    data = _read(image)
    with open_bundle(bundle, RecommendSpec) as opened:
        answer = Recommender(opened, precision=precision, device=device or "auto").recommend(
            data,
            target,
            given,
            candidates=candidates,
            alternates=alternates,
            thumbnails=contact_sheet is not None,
            augmentation=augmentation,
            min_lift=min_lift,
        )
        augmentations = opened.spec.augmentations
    if contact_sheet is not None:
        _write(draw(answer, data, augmentations), contact_sheet)
    if as_json:
        print(json.dumps(answer.model_dump(mode="json"), indent=2))
        return
    print_answer(answer)
    if contact_sheet is not None:
        console.print(f"contact sheet: {contact_sheet}", soft_wrap=True)


def print_answer(answer: Answer) -> None:
    """Print an answer as tables, best first, with 90 % intervals."""
    console.print(
        f"[bold]{answer.target}[/bold] ({answer.direction}): the image as it is has "
        f"{answer.probability:.{decimals(answer.interval)}%} ({_interval(answer.interval)} %)"
    )
    table = _score_table("Candidates", "candidate")
    for candidate in answer.candidates:
        table.add_row(escape(candidate.name), *_score_cells(candidate, answer.verdict.choice))
    console.print(table)
    console.print(answer.verdict.text, markup=False, highlight=False)
    if answer.alternate_verdict is not None:
        table = _score_table("Alternates from the catalogue", "image")
        choice = answer.alternate_verdict.choice
        for alternate in answer.alternates:
            table.add_row(escape(alternate.path), *_score_cells(alternate, choice))
        console.print(table)
        console.print(answer.alternate_verdict.text, markup=False, highlight=False)
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in answer.timings_ms if name != "total")
    console.print(f"[dim]{answer.timings_ms.total:.1f} ms ({stages}); {answer.engine}[/dim]")


def _score_table(title: str, first_column: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first_column, overflow="fold")
    for heading in ("%", "90 % interval", "points", "90 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    return table


def _score_cells(score: CandidateScore | AlternateScore, choice: str | None) -> tuple[str, ...]:
    """Return the cells of an option, marked if it is recommended or better (95 % confidence)."""
    name = score.name if isinstance(score, CandidateScore) else score.path
    mark = "recommended" if name == choice else "better" if score.better else ""
    digits = decimals(score.interval)
    return (
        f"{100 * score.probability:.{digits}f}",
        _interval(score.interval),
        f"{100 * score.difference:+.{digits}f}",
        _interval(score.difference_interval, sign="+", digits=digits),
        mark,
    )


def _interval(interval: Interval, sign: str = "", digits: int | None = None) -> str:
    """Format the ends of an interval in per cent."""
    shown = decimals(interval) if digits is None else digits
    return " to ".join(f"{100 * end:{sign}.{shown}f}" for end in interval)


def _write(sheet: Image.Image, file: Path) -> None:
    try:
        sheet.save(file, "PNG")
    except OSError as error:
        raise BadRequest(
            "the contact sheet cannot be written", expected="a writable path", got=str(error)
        ) from error


def _read(image: Path) -> bytes:
    try:
        return read_image(image)
    except OSError as error:
        raise BadRequest(
            "the image cannot be read",
            expected="an image file",
            got=f"{image}: {error.strerror}",
        ) from error
