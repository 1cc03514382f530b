"""``augrank recommend`` and ``augrank inspect``: score one image, show the contents of a bundle."""

from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendBundle, RecommendSpec
from augrank.cli.arguments import BundleArgument, CandidatesOption, DeviceOption, PrecisionOption
from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs
from augrank.contracts.manifest import CAMPAIGN_TYPE, INDUSTRY, PRODUCT_TYPE
from augrank.errors import BadRequest
from augrank.tasks.recommend.response import Answer, Score

console = Console()


@friendly_errors
def recommend(
    bundle: BundleArgument,
    image: Annotated[Path, typer.Argument(help="The image: JPEG, PNG, WebP or GIF.")],
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
    from augrank.models.head import import_xgboost_without_sklearn
    from augrank.tasks.recommend.contact_sheet import contact_sheet as draw
    from augrank.tasks.recommend.pipeline import Recommender

    import_xgboost_without_sklearn()
    named = {CAMPAIGN_TYPE: campaign_type, INDUSTRY: industry, PRODUCT_TYPE: product_type}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    given |= pairs(context, "--context")
    data = _read(image)
    with open_bundle(bundle, RecommendSpec) as opened:
        answer = Recommender(opened, precision=precision, device=device or "auto").recommend(
            data,
            target,
            given,
            candidates=candidates,
            alternates=alternates,
            thumbnails=contact_sheet is not None,
        )
        augmentations = opened.spec.augmentations
    if contact_sheet is not None:
        _write(draw(answer, data, augmentations), contact_sheet)
    if as_json:
        print(answer.model_dump_json(indent=2))
        return
    print_answer(answer)
    if contact_sheet is not None:
        console.print(f"contact sheet: {contact_sheet}", soft_wrap=True)


@friendly_errors
def inspect(
    bundle: BundleArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle.json.")] = False,
) -> None:
    """Check a bundle or archive and print its contents."""
    with open_bundle(bundle, RecommendSpec) as opened:
        if as_json:
            print(opened.spec.model_dump_json(indent=2))
            return
        _print_bundle(opened)


def print_answer(answer: Answer) -> None:
    """Print an answer as tables, best first."""
    console.print(
        f"[bold]{answer.target}[/bold] ({answer.direction}): "
        f"the original image has {answer.probability:.1%}"
    )
    table = _score_table("Candidates", "candidate")
    for candidate in answer.candidates:
        mark = "best" if candidate.name == answer.best_candidate.name else ""
        table.add_row(escape(candidate.name), *_score_cells(candidate), mark)
    console.print(table)
    if answer.alternates:
        table = _score_table("Alternates from the catalogue", "image")
        for index, alternate in enumerate(answer.alternates):
            mark = "best" if index == 0 else ""
            table.add_row(escape(alternate.path), *_score_cells(alternate), mark)
        console.print(table)
    console.print(answer.verdict, markup=False, highlight=False)
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in answer.timings_ms if name != "total")
    console.print(f"[dim]{answer.timings_ms.total:.1f} ms ({stages})[/dim]")


def _score_table(title: str, first_column: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first_column)
    for heading in ("probability", "difference", "lift"):
        table.add_column(heading, justify="right")
    table.add_column("")
    return table


def _score_cells(score: Score) -> tuple[str, str, str]:
    lift = "-" if score.lift is None else f"{score.lift:+.1%}"
    return f"{score.probability:.1%}", f"{100 * score.difference:+.1f} pt", lift


def _print_bundle(bundle: RecommendBundle) -> None:
    spec = bundle.spec
    console.print(f"[bold]{spec.name}[/bold] {bundle.version}: all files match their checksums")
    alternates = spec.alternates.count if spec.alternates else 0
    table = Table(show_header=False, box=None)
    rows = {
        "backbone": f"{spec.backbone}, {spec.image_size} px, graphs {', '.join(spec.graphs)} "
        f"(default {spec.precision})",
        "augmentations": f"{spec.augmentations.name}: {', '.join(spec.augmentations.names)}",
        "context": ", ".join(column.name for column in spec.context) or "none",
        "alternates": f"{alternates} images",
        "made with": ", ".join(f"{name} {v}" for name, v in spec.library_versions.items()),
    }
    for name, value in rows.items():
        table.add_row(f"[dim]{name}[/dim]", value)
    console.print(table)
    heads = Table(title="Heads", title_justify="left")
    for heading in ("target", "direction", "inputs", "accuracy", "majority", "AUC"):
        heads.add_column(heading)
    for head in spec.heads:
        figures = [head.metrics.get(name) for name in ("accuracy", "majority_accuracy", "auc")]
        shown = [f"{f:.3f}" if isinstance(f, float) else "-" for f in figures]
        heads.add_row(head.target.name, head.target.direction, " + ".join(head.inputs), *shown)
    console.print(heads)


def _write(sheet: Image.Image, file: Path) -> None:
    try:
        sheet.save(file, "PNG")
    except OSError as error:
        raise BadRequest(
            "the contact sheet cannot be written", expected="a writable path", got=str(error)
        ) from error


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise BadRequest(
            "the image cannot be read",
            expected="an image file",
            got=f"{image}: {error.strerror}",
        ) from error
