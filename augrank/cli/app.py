"""``augrank``: ask a bundle, look into it, serve it, answer for a whole catalogue."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, cast

import typer
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendBundle, RecommendSpec
from augrank.bundle.spec import Precision
from augrank.cli.command import friendly_errors
from augrank.errors import BadRequest, ServerError
from augrank.models.engines import Device, uses_accelerator
from augrank.serving.capacity import CapacityRequest, Profile, plan_serving
from augrank.tasks.recommend.response import Answer, Score

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="How likely an image is to convert, and which version of it would do better.",
)
console = Console()
LINE_EVERY_S = 5.0  # of progress, where there is no terminal

DeviceOption = Annotated[
    Device | None,
    typer.Option(help="What computes the graph (default: a GPU where there is one, else the CPU)."),
]
BundleArgument = Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")]


@app.command()
@friendly_errors
def recommend(
    bundle: BundleArgument,
    image: Annotated[Path, typer.Argument(help="The image: JPEG, PNG, WebP or GIF.")],
    target: Annotated[str | None, typer.Option(help="What to predict, such as open_rate.")] = None,
    campaign_type: Annotated[str | None, typer.Option(help="Context: such as Newsletter.")] = None,
    industry: Annotated[str | None, typer.Option(help="Context: such as Automotive.")] = None,
    product_type: Annotated[
        str | None, typer.Option(help="Context; alternates are then of this type.")
    ] = None,
    context: Annotated[
        list[str] | None, typer.Option(help="Any further context, as name=value; repeatable.")
    ] = None,
    candidates: Annotated[
        list[str] | None, typer.Option(help="Only these augmentations; repeatable.")
    ] = None,
    alternates: Annotated[int, typer.Option(min=0, max=100, help="How many to list.")] = 5,
    precision: Annotated[
        Precision | None, typer.Option(help="Graph to use; by default the bundle's choice.")
    ] = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Also draw the ranked images into this PNG.")
    ] = None,
) -> None:
    """Rank the changed versions of an image, and other images of the catalogue.

    Example: augrank recommend dist/bundle car.jpg --target open_rate
    --campaign-type Newsletter --industry Automotive
    """
    from augrank.models.head import import_xgboost_alone
    from augrank.tasks.recommend.contact_sheet import contact_sheet as draw
    from augrank.tasks.recommend.pipeline import Recommender

    import_xgboost_alone()
    named = {"campaign_type": campaign_type, "industry": industry, "product_type": product_type}
    given = {name: value for name, value in named.items() if value is not None}
    given |= _pairs(context or [])
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


@app.command()
@friendly_errors
def inspect(
    bundle: BundleArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print bundle.json.")] = False,
) -> None:
    """Check a bundle or archive and say what is in it."""
    with open_bundle(bundle, RecommendSpec) as opened:
        if as_json:
            print(opened.spec.model_dump_json(indent=2))
            return
        _print_bundle(opened)


@app.command()
@friendly_errors
def score(
    bundle: BundleArgument,
    source: Annotated[Path, typer.Argument(help="Folder of images, or manifest (CSV, Parquet).")],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    target: Annotated[
        list[str] | None, typer.Option(help="What to predict; repeatable. Default: every target.")
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(help="Context as name=value; a manifest's own columns go before it."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Where a manifest's images are (default: beside it).")
    ] = None,
    candidates: Annotated[
        list[str] | None, typer.Option(help="Only these augmentations; repeatable.")
    ] = None,
    alternates: Annotated[int, typer.Option(min=0, max=100, help="How many to list.")] = 0,
    engine: Annotated[
        str, typer.Option(help="local: processes of this machine. ray: a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes of one thread (default: one a core).")
    ] = None,
    device: DeviceOption = None,
) -> None:
    """Answer for a whole catalogue, into one Parquet file.

    Run it again after an interrupt: it goes on where it was. What cannot be answered is listed in
    OUT.errors.csv and skipped. Needs the extra `bulk`.

    Example: augrank score dist/bundle catalogue/ --out answers.parquet --target open_rate
    --context campaign_type=Newsletter --context industry=Retail
    """
    try:
        from augrank import batch as bulk
    except ImportError as error:
        raise BadRequest(f"cannot score: {error}", remedy="pip install 'augrank[bulk]'") from error
    with open_bundle(bundle, RecommendSpec) as opened:
        spec, given = opened.spec, _pairs(context or [])
        job = bulk.Job(
            bundle=opened.directory,
            images=source if source.is_dir() else images or source.parent,
            targets=tuple(spec.head(name).target.name for name in target)
            if target
            else tuple(head.target.name for head in spec.heads),
            candidates=tuple(candidates) if candidates else None,
            alternates=alternates,
            device=device or "auto",
        )
        items = (
            bulk.items_of_folder(source, given)
            if source.is_dir()
            else bulk.items_of_manifest(source, spec, given)
        )
        with _rate("images") as done:
            outcome = bulk.score(
                job, items, out, engine=cast(bulk.Engine, engine), workers=workers, done=done
            )
    if outcome.resumed:
        console.print(f"went on with {outcome.resumed} shards of an earlier try")
    console.print(f"wrote {out}: {outcome.answered} answers", soft_wrap=True)
    if outcome.errors is not None:
        console.print(
            f"[yellow]{outcome.failed} could not be answered:[/yellow] {outcome.errors}",
            soft_wrap=True,
        )


@app.command()
@friendly_errors
def serve(
    source: Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")],
    port: Annotated[int, typer.Option(help="Port on the loopback interface; 0 for any.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    profile: Annotated[
        Profile, typer.Option(help="latency: all cores for one request. throughput: one each.")
    ] = "latency",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes (default: by profile).")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Requests a worker takes at once (default: 1).")
    ] = None,
    batch_delay_ms: Annotated[
        int | None, typer.Option(min=0, help="How long a lone request waits for company.")
    ] = None,
    queue_size: Annotated[
        int | None, typer.Option(min=1, help="Requests that may wait; more are refused (503).")
    ] = None,
    cache_mb: Annotated[
        int | None, typer.Option(min=0, help="Keep answers given, up to this size in each worker.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Graph to use; by default the bundle's choice.")
    ] = None,
    device: DeviceOption = None,
    auth: Annotated[
        bool, typer.Option("--auth/--no-auth", help="Ask clients for TorchServe's inference key.")
    ] = True,
) -> None:
    """Serve on the real TorchServe until Ctrl-C. Needs the extra `serve`."""
    try:
        from augrank.runtime.settings import WorkerSettings
        from augrank.serving.server import ServerOptions
        from augrank.serving.server import serve as start
    except ImportError as error:
        raise BadRequest(f"cannot serve: {error}", remedy="pip install 'augrank[serve]'") from error
    settings = WorkerSettings.from_environment()
    plan = plan_serving(
        CapacityRequest(
            profile,
            gpu=uses_accelerator(device or settings.device),
            workers=workers,
            threads=settings.threads,
            batch_size=batch_size,
            batch_delay_ms=batch_delay_ms,
            queue_size=queue_size,
        )
    )
    options = ServerOptions(port, host, auth, plan, precision, device, cache_mb)
    console.print(plan.explained(), highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        with ExitStack() as stack:
            with console.status("starting TorchServe ..."):
                server = stack.enter_context(start(source, options))
            console.print(f"[green]ready[/green]: {server.url}", soft_wrap=True)
            console.print(f"\n{server.curl()}\n", soft_wrap=True, markup=False, highlight=False)
            console.print(f"logs: {server.folder}/logs   stop: Ctrl-C", soft_wrap=True)
            server.process.wait()
            raise ServerError(f"TorchServe ended by itself. Its log ends:\n{server.log_tail()}")
    except KeyboardInterrupt:
        console.print("stopped")


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Stop the server; a second Ctrl-C must not leave Java behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def print_answer(answer: Answer) -> None:
    """Print an answer as tables, best first."""
    console.print(
        f"[bold]{answer.target}[/bold] ({answer.direction}): "
        f"the image as it is has {answer.probability:.1%}"
    )
    table = Table(title="Candidates", title_justify="left")
    _score_columns(table, "candidate")
    for candidate in answer.candidates:
        mark = "best" if candidate.name == answer.best_candidate.name else ""
        table.add_row(escape(candidate.name), *_score_cells(candidate), mark)
    console.print(table)
    if answer.alternates:
        table = Table(title="Alternates of the catalogue", title_justify="left")
        _score_columns(table, "image")
        for index, alternate in enumerate(answer.alternates):
            mark = "best" if index == 0 else ""
            table.add_row(escape(alternate.path), *_score_cells(alternate), mark)
        console.print(table)
    console.print(answer.verdict, markup=False, highlight=False)
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in answer.timings_ms if name != "total")
    console.print(f"[dim]{answer.timings_ms.total:.1f} ms ({stages})[/dim]")


def _score_columns(table: Table, what: str) -> None:
    table.add_column(what)
    for heading in ("probability", "difference", "lift"):
        table.add_column(heading, justify="right")
    table.add_column("")


def _score_cells(score: Score) -> tuple[str, str, str]:
    lift = "-" if score.lift is None else f"{score.lift:+.1%}"
    return f"{score.probability:.1%}", f"{100 * score.difference:+.1f} pt", lift


def _print_bundle(bundle: RecommendBundle) -> None:
    spec = bundle.spec
    console.print(f"[bold]{spec.name}[/bold] {bundle.version}: every file is as it was exported")
    alternates = spec.alternates.count if spec.alternates else 0
    table = Table(show_header=False, box=None)
    rows: dict[str, Any] = {
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


@contextmanager
def _rate(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with rate and time left; a line now and then where there is no terminal."""
    start, said = time.monotonic(), time.monotonic()
    first: int | None = None
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task(what, total=None, rate="")

        def done(count: int, of: int) -> None:
            nonlocal first, said
            first = count if first is None else first
            now = time.monotonic()
            per_s = (count - first) / max(now - start, 1e-9)
            bar.update(task, completed=count, total=of, rate=f"{per_s:.1f}/s")
            if not console.is_terminal and (now - said > LINE_EVERY_S or count == of):
                said = now
                left = f", {(of - count) / per_s:.0f} s left" if per_s and count < of else ""
                console.print(f"{count:,}/{of:,} {what}, {per_s:.1f}/s{left}", highlight=False)

        yield done


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadRequest("--context does not fit", expected="name=value", got=repr(text))
        pairs[name] = value
    return pairs


def _write(sheet: Image.Image, file: Path) -> None:
    try:
        sheet.save(file, "PNG")
    except OSError as error:
        raise BadRequest(
            "the contact sheet cannot be written", expected="a place to write", got=str(error)
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
