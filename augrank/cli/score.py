"""``augrank score``: score a whole catalogue into one Parquet file."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import BundleSpec
from augrank.cli.arguments import (
    BundleArgument,
    CandidatesOption,
    DeviceOption,
    MinLiftOption,
    PrecisionOption,
)
from augrank.cli.command import friendly_errors
from augrank.cli.options import pairs
from augrank.errors import BadRequest
from augrank.files import check_output_file, disk_errors
from augrank.models.tags import check_configured
from augrank.tasks.classify.request import DEFAULT_COVERAGE

if TYPE_CHECKING:
    from augrank.batch.job import Items, ScoringJob
    from augrank.batch.run import ScoreSummary

console = Console()
RESUME = "Free space there and run the same command to continue, or give another --out."
LINE_EVERY_S = 5.0  # of progress, without a terminal


@friendly_errors
def score(
    bundle: BundleArgument,
    source: Annotated[Path, typer.Argument(help="Folder of images, or manifest (CSV, Parquet).")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    target: Annotated[
        list[str] | None,
        typer.Option(help="Target to predict; repeatable (default: every target)."),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(help="Context as NAME=VALUE; columns of a manifest override it. Repeatable."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of a manifest's images (default: beside it).")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="Map a column of another name: relative_im_path=photo. Repeatable."),
    ] = None,
    candidates: CandidatesOption = None,
    alternates: Annotated[
        int, typer.Option(min=0, max=100, help="Number of alternates per image.")
    ] = 0,
    min_lift: MinLiftOption = 0.0,
    review_kind: Annotated[
        str | None,
        typer.Option(help="Of a classifier with rules: the kind of rows without review_kind."),
    ] = None,
    configured: Annotated[
        list[str] | None,
        typer.Option(
            help="Of a classifier with tags: LABEL=VALUE that wins over what is classified, of "
            "rows without configured_LABEL. Repeatable."
        ),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(min=0.5, max=0.999, help="Of a classifier: coverage of prediction sets."),
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine. ray: a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Single-threaded processes (default: one per core).")
    ] = None,
    precision: PrecisionOption = None,
    device: DeviceOption = None,
) -> None:
    """Score or classify a whole catalogue into one Parquet file.

    Resumable: after an interrupt, run the same command again. Images that cannot be answered are
    listed in OUT.errors.csv and skipped. Needs the extra `bulk`.

    Example: augrank score dist/bundle catalogue/ --out answers.parquet --target open_rate
    --context campaign_type=Newsletter --context industry=Retail
    Example: augrank score dist/bundle photos/ --out labels.parquet --review-kind 'Style Review'
    Example: augrank score dist/bundle cars.csv --out tags.parquet
    --column configured_colour=colour
    """
    try:
        from augrank.batch.executors import ExecutorName
        from augrank.batch.run import score as score_all
        from augrank.manifest.parquet_file import is_parquet
    except ImportError as error:
        raise BadRequest(f"cannot score: {error}", remedy="pip install 'augrank[bulk]'") from error
    check_output_file(out)
    of_recommend = {
        "--target": target, "--context": context, "--candidates": candidates,
        "--alternates": alternates or None, "--min-lift": min_lift or None,
    }  # fmt: skip
    of_classify = {
        "--review-kind": review_kind, "--configured": configured, "--coverage": coverage,
    }  # fmt: skip
    is_manifest = not source.is_dir() or is_parquet(source)
    with open_bundle(bundle, BundleSpec) as opened:
        wanted = _Wanted(
            source,
            is_manifest,
            pairs(column, "--column"),
            {
                "bundle": opened.directory,
                "images": images or (source.parent if is_manifest else source),
                "precision": precision,
                "device": device or "auto",
            },
        )
        if isinstance(opened.spec, ClassifySpec):
            _refuse(of_recommend, opened.spec)
            given = pairs(configured, "--configured")
            job, found = _classify_job(wanted, opened.spec, review_kind, given, coverage)
        else:
            assert isinstance(opened.spec, RecommendSpec)
            _refuse(of_classify, opened.spec)
            options = {
                "targets": _targets(opened.spec, target),
                "candidates": tuple(candidates) if candidates else None,
                "alternates": alternates,
                "min_lift": min_lift,
            }
            given = pairs(context, "--context")
            job, found = _recommend_job(wanted, opened.spec, given, options)
        for note in found.notes:
            console.print(f"{source}: {note}", markup=False, highlight=False, soft_wrap=True)
        executor = cast(ExecutorName, engine)
        with disk_errors(out.parent, RESUME), _progress("images") as done:
            summary = score_all(
                job, found.items, out, executor=executor, workers=workers, done=done
            )
    _print_summary(summary)
    if not summary.answered:
        raise BadRequest(f"nothing could be answered: {summary.first_error}")


@dataclass(frozen=True)
class _Wanted:
    """What to score, whatever the task."""

    source: Path
    is_manifest: bool
    columns: Mapping[str, str]
    common: dict[str, Any]  # fields of ScoringJob

    @property
    def images(self) -> Path:
        return Path(self.common["images"])


def _refuse(options: Mapping[str, object], spec: BundleSpec) -> None:
    """Refuse options of another task.

    Raises:
        BadRequest: one is given.
    """
    for name, value in options.items():
        if value is not None:
            raise BadRequest(
                f"{name} is not an option of this bundle",
                expected=f"options of the task {spec.task}",
                got=name,
            )


def _targets(spec: RecommendSpec, names: list[str] | None) -> tuple[str, ...]:
    return tuple(spec.head(name).target.name for name in names) if names else spec.targets


def _recommend_job(
    wanted: _Wanted, spec: RecommendSpec, context: Mapping[str, str], options: dict[str, Any]
) -> "tuple[ScoringJob, Items]":
    from augrank.batch.job import RecommendJob, check_context, items_of_folder, items_of_manifest

    found = (
        items_of_manifest(wanted.source, wanted.images, spec, context, wanted.columns)
        if wanted.is_manifest
        else items_of_folder(wanted.source, context)
    )
    check_context(spec, found.items)
    return RecommendJob(**wanted.common, **options), found


def _classify_job(
    wanted: _Wanted,
    spec: ClassifySpec,
    review_kind: str | None,
    configured: Mapping[str, str],
    coverage: float | None,
) -> "tuple[ScoringJob, Items]":
    from augrank.batch.job import (
        ClassifyJob,
        items_of_folder,
        items_of_labels_manifest,
        review_context,
    )

    if review_kind is not None:
        if spec.rules is None:
            raise BadRequest(
                "this bundle has no rules, so a review kind decides nothing",
                expected="no --review-kind",
                got=repr(review_kind),
                remedy="Export it with --rules rules.yaml.",
            )
        review_kind = spec.rules.find(review_kind)
    classes = {head.label: head.classes for head in spec.heads}
    context = review_context(review_kind, check_configured(spec.tags, classes, configured))
    found = (
        items_of_labels_manifest(wanted.source, wanted.images, spec, context, wanted.columns)
        if wanted.is_manifest
        else items_of_folder(wanted.source, context)
    )
    return ClassifyJob(**wanted.common, coverage=coverage or DEFAULT_COVERAGE), found


def _print_summary(summary: "ScoreSummary") -> None:
    if summary.resumed:
        console.print(f"resumed with {summary.resumed} shards of an interrupted run")
    console.print(f"wrote {summary.answers}: {summary.answered} answers", soft_wrap=True)
    if summary.errors is not None:
        console.print(
            f"[yellow]{summary.failed} could not be answered:[/yellow] {summary.errors}",
            soft_wrap=True,
        )


@contextmanager
def _progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with rate and remaining time; without a terminal, print a regular line."""
    start, printed_at = time.monotonic(), time.monotonic()
    first: int | None = None
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(unit, total=None, rate="")

        def done(count: int, total: int) -> None:
            nonlocal first, printed_at
            first = count if first is None else first
            now = time.monotonic()
            per_s = (count - first) / max(now - start, 1e-9)
            bar.update(task, completed=count, total=total, rate=f"{per_s:.1f}/s")
            if not console.is_terminal and (now - printed_at > LINE_EVERY_S or count == total):
                printed_at = now
                left = f", {(total - count) / per_s:.0f} s left" if per_s and count < total else ""
                console.print(f"{count:,}/{total:,} {unit}, {per_s:.1f}/s{left}", highlight=False)

        yield done
