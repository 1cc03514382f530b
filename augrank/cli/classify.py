"""``augrank classify``: the labels of an image, or of a folder of images."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import open_bundle
from augrank.cli.arguments import BundleArgument, DeviceOption, PrecisionOption
from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs
from augrank.errors import AugrankError, BadRequest, ImageTooLarge
from augrank.files import check_output_file
from augrank.images.decode import read_image
from augrank.images.files import IMAGE_SUFFIXES, image_files
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP, Request
from augrank.tasks.classify.response import ImageAnswer

if TYPE_CHECKING:
    from augrank.tasks.classify.pipeline import Classifier

console = Console()
BATCH = 32  # images of a folder in one call
MAX_LISTED = 40  # images in the table
Answered = list[tuple[str, ImageAnswer]]  # the path of each image, and its answer


@friendly_errors
def classify(
    bundle: BundleArgument,
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    review_kind: Annotated[
        str | None, typer.Option(help="Review kind, such as 'Style Review': decides on credit.")
    ] = None,
    configured: Annotated[
        list[str] | None,
        typer.Option(
            help="LABEL=VALUE: a tag of all images that wins over what is classified. Repeatable."
        ),
    ] = None,
    coverage: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Coverage of the prediction sets.")
    ] = DEFAULT_COVERAGE,
    top: Annotated[int, typer.Option(min=1, help="Classes to list for each label.")] = DEFAULT_TOP,
    precision: PrecisionOption = None,
    device: DeviceOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each image, a line each.")
    ] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Also write the images with their labels to this PNG.")
    ] = None,
    ground_truth: Annotated[
        Path | None,
        typer.Option(help="Also write the labels as an output manifest of Ground Truth."),
    ] = None,
    source: Annotated[
        str, typer.Option(help="What the paths in it start with, such as s3://bucket/photos/.")
    ] = "",
) -> None:
    """Tell the labels of an image, or of every image in a folder.

    Example: augrank classify dist/bundle photos/ --review-kind 'Style Review'
    --contact-sheet day.png
    """
    from augrank.tasks.classify.contact_sheet import contact_sheet as draw
    from augrank.tasks.classify.pipeline import Classifier

    for option, file in (("--contact-sheet", contact_sheet), ("--ground-truth", ground_truth)):
        if file is not None:
            check_output_file(file, option)
    root, paths = _found(images)
    with open_bundle(bundle, ClassifySpec) as opened:
        _check_ground_truth(ground_truth, opened.spec)
        classifier = Classifier(opened, precision=precision, device=device or "auto")
        options = Request((), review_kind, coverage, top, pairs(configured, "--configured"))
        answered = list(_answered(classifier, root, paths, options, quiet=as_json))
    if ground_truth is not None:
        _write_ground_truth(answered, classifier, ground_truth, source)
    if as_json:
        for path, answer in answered:
            print(json.dumps({"path": path, **answer.model_dump(mode="json")}))
    else:
        _print(answered, classifier)
    if contact_sheet is not None:
        draw(answered, root).save(contact_sheet, "PNG")
    for name, file in (("contact sheet", contact_sheet), ("Ground Truth", ground_truth)):
        if file is not None and not as_json:
            console.print(f"{name}: {file}", soft_wrap=True)
    if all(answer.error for _, answer in answered):
        raise BadRequest(f"no image could be read: {_message(answered[0][1])}")


def _check_ground_truth(file: Path | None, spec: ClassifySpec) -> None:
    if file is not None and not spec.labels:
        raise BadRequest(
            "this bundle has no labels to write to a Ground Truth manifest",
            expected="a bundle with labels",
            got=f"ranks {', '.join(spec.ranks)}",
            remedy="Leave out --ground-truth; --json has scores and percentiles.",
        )


def _found(images: Path) -> tuple[Path, list[str]]:
    """Return a folder, and the images in it, relative to it.

    Raises:
        BadRequest: there is no image.
    """
    if not images.is_dir():
        return images.parent, [images.name]
    found = image_files(images)
    if not found.files:
        raise BadRequest(
            "there are no images",
            expected=f"files {', '.join(IMAGE_SUFFIXES)}",
            got=f"{images}" + (f", {found.note}" if found.note else ""),
        )
    return images, list(found.files)


def _answered(
    classifier: "Classifier", root: Path, paths: list[str], options: Request, *, quiet: bool
) -> Iterator[tuple[str, ImageAnswer]]:
    """Classify images, some at a time; one that cannot be read is answered by its error."""
    starts = range(0, len(paths), BATCH)
    hidden = quiet or len(paths) <= BATCH or not console.is_terminal
    for start in track(starts, "images", console=console, disable=hidden):
        part = paths[start : start + BATCH]
        read = [_read(root / path) for path in part]
        (answer,) = classifier.classify_batch([replace(options, images=tuple(read))])
        if isinstance(answer, AugrankError):
            raise answer
        yield from zip(part, answer.images, strict=True)


def _read(file: Path) -> bytes | AugrankError:
    try:
        return read_image(file)
    except ImageTooLarge as error:
        return error
    except OSError as error:
        return BadRequest("the image cannot be read", got=f"{file}: {error.strerror}")


def _write_ground_truth(
    answered: Answered, classifier: "Classifier", file: Path, source: str
) -> None:
    """Write what was told, as by a machine; images that could not be read are left out."""
    from augrank.manifest.ground_truth_writer import Annotation, write_ground_truth

    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None).isoformat()
    job = f"{classifier.bundle.spec.name}-{classifier.bundle.version}"
    classes = classifier.heads.classes
    write_ground_truth(
        file,
        (
            (
                source + path,
                {
                    label: Annotation(told.value, classes[label], told.probability, False, now, job)
                    for label, told in answer.labels.items()
                },
            )
            for path, answer in answered
            if not answer.error
        ),
    )


def _print(answered: Answered, classifier: "Classifier") -> None:
    labels = [*classifier.heads.classes]
    ranks = [head.spec.rank for head in classifier.heads.ranks]
    decided = any(answer.decision for _, answer in answered)
    table = Table(title_justify="left")
    percentiles = [f"{rank}, percentile" for rank in ranks]
    for name in ("image", *labels, *percentiles, *(["decision"] if decided else [])):
        table.add_column(escape(name), overflow="fold")
    for path, answer in answered[:MAX_LISTED]:
        cells = [escape(path)]
        if answer.error:
            cells.append(f"[yellow]skipped: {escape(_message(answer))}[/yellow]")
        else:
            cells += [_label_cell(answer, label) for label in labels]
            cells += [f"{answer.ranks[rank].percentile:.1f}" for rank in ranks]
            if answer.decision:
                cells.append(f"{answer.decision.decision} ({answer.decision.probability:.1%})")
        table.add_row(*cells)
    console.print(table)
    if len(answered) > MAX_LISTED:
        console.print(f"... and {len(answered) - MAX_LISTED:,} more (--json lists all)")
    for line in _counts(answered, labels):
        console.print(line, highlight=False, markup=False)
    console.print(f"[dim]{classifier.engine}[/dim]")


def _label_cell(answer: ImageAnswer, label: str) -> str:
    if (tag := answer.tags.get(label)) and tag.source != "classified":
        return escape(f"{tag.value or 'none'} ({tag.source})")
    told = answer.labels[label]
    others = [name for name in told.set if name != told.value]
    more = f" (or {', '.join(others)})" if others else ""
    return escape(f"{told.value} {told.probability:.1%}{more}")


def _counts(answered: Answered, labels: list[str]) -> Iterator[str]:
    """Yield a line for each label, the decisions and the skipped images of a folder."""
    good = [answer for _, answer in answered if not answer.error]
    if len(answered) == 1:
        return
    for label in labels:
        counts = Counter(answer.labels[label].value for answer in good)
        yield f"{label}: " + ", ".join(f"{name} {n:,}" for name, n in counts.most_common())
    if decisions := Counter(each.decision.decision for each in good if each.decision):
        yield "decisions: " + ", ".join(f"{name} {n:,}" for name, n in decisions.most_common())
    if skipped := len(answered) - len(good):
        yield f"skipped: {skipped:,} of {len(answered):,}"


def _message(answer: ImageAnswer) -> str:
    return str((answer.error or {}).get("message", ""))
