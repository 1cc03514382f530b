"""``python -m benchmarks``: a table for people, and one line of JSON at the end."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.cli.command import friendly_errors
from augrank.contracts.manifest import IMAGE_SUFFIXES
from augrank.errors import BadRequest, one_of
from augrank.models.engines import Device
from augrank.resources import usable_cores
from augrank.serving.capacity import Profile
from benchmarks.cli.instances import instances, refresh_prices
from benchmarks.cli.training import training
from benchmarks.common.notes import timed_notes, typed_command
from benchmarks.common.requests import questions
from benchmarks.reproduce import Experiment, read_report, results_document, run_experiment
from benchmarks.serving.pipeline import STAGES, PipelineResult, result_json, time_pipeline

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Time training and serving.")
console = Console()
ASKED, QUICK_ASKED = 40, 12  # images
QUICK_PEERS = ("mosec",)
CATALOGUE = Path(__file__).parents[2] / "examples" / "catalogue" / "images"


@app.callback()
def main() -> None:
    """Time training and serving."""


@app.command()
@friendly_errors
def pipeline(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")],
    images: Annotated[Path, typer.Option(help="Folder of images to ask about.")] = CATALOGUE,
    rounds: Annotated[int, typer.Option(min=5, help="Requests timed for each row.")] = 60,
    threads: Annotated[int, typer.Option(help="Intra-op threads; 0 for all cores.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write results.json here.")] = None,
) -> None:
    """Time the request pipeline by stage, in process, against the raw forward pass."""
    files = _image_files(images)
    threads = threads or usable_cores()
    with open_bundle(bundle, RecommendSpec) as opened:
        results = list(time_pipeline(opened, files, rounds=rounds, threads=threads))
        content = result_json(opened, results, typed_command(), rounds=rounds, threads=threads)
    console.print(_table(results))
    if out is not None:
        _write_json(out / "results.json", content)
    print(json.dumps(content))


@app.command()
@friendly_errors
def serving(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory, or .mar archive.")],
    quick: Annotated[bool, typer.Option("--quick", help="Three minutes; wide intervals.")] = False,
    peers: Annotated[
        str | None,
        typer.Option(help="Comma-separated, of litserve, mosec, bentoml, mlserver; or none."),
    ] = None,
    images: Annotated[Path, typer.Option(help="Folder of images to ask about.")] = CATALOGUE,
    profile: Annotated[Profile, typer.Option(help="As of `augrank serve`.")] = "throughput",
    device: Annotated[Device, typer.Option(help="What computes: cpu, openvino, cuda.")] = "cpu",
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Of this machine: gives the cost of answers.")
    ] = None,
    out: Annotated[Path, typer.Option(help="results.json and plots/ go here.")] = Path(
        "build/bench/serving"
    ),
) -> None:
    """Compare servers on this machine: ours, TorchServe's documented handler, four others.

    Starts every server itself on loopback, checks that all answer the same, and asks them in turn.
    Needs the extras serve and peers.
    """
    try:
        from benchmarks.serving.measure import measure
        from benchmarks.serving.measurements import FULL, QUICK
        from benchmarks.serving.plots import draw_all
        from benchmarks.serving.report import result_json as serving_json
    except ImportError as error:
        raise BadRequest(
            f"cannot compare servers: {error}", remedy="make install, or the extras serve and peers"
        ) from error
    chosen = _peers(peers, quick)
    with open_bundle(bundle, RecommendSpec) as opened:
        asked = questions(opened, _image_files(images)[: QUICK_ASKED if quick else ASKED])
        seen = measure(
            opened,
            asked,
            QUICK if quick else FULL,
            chosen,
            timed_notes(),
            profile=profile,
            device=device,
        )
        content = serving_json(seen, opened, typed_command(), price_per_hour)
    draw_all(seen, out / "plots")
    _write_json(out / "results.json", content)
    console.print(_servers(content))
    console.print(_ratios(content))
    if quick:
        console.print("This was a quick run: for figures to keep, run it without --quick.")
    print(json.dumps(content))


@app.command()
@friendly_errors
def document(
    results: Annotated[list[Path], typer.Argument(help="results.json of other commands.")],
    out: Annotated[Path, typer.Option(help="Where to.")] = Path("docs/performance.md"),
) -> None:
    """Write sections of docs/performance.md from the results of benchmarks; others stay."""
    from benchmarks.common.document import performance_document

    contents = [_read_json(file) for file in results]
    former = out.read_text(encoding="utf-8") if out.exists() else ""
    _write(out, performance_document(contents, former))
    console.print(f"wrote {out}")


@app.command()
@friendly_errors
def seeds(
    out: Annotated[Path, typer.Option(help="Images, history and run go here.")],
    kind: Annotated[str, typer.Option(help="sneaker or car.")] = "sneaker",
    count: Annotated[int, typer.Option(min=100, help="Originals.")] = 1000,
    sends: Annotated[int, typer.Option(min=1, help="Of each candidate.")] = 10,
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    image_size: Annotated[int, typer.Option(help="Pixels.")] = 64,
    catalogue: Annotated[
        Path | None, typer.Option(help="A run on the example catalogue, to report beside it.")
    ] = None,
    document: Annotated[Path | None, typer.Option(help="Write the results here.")] = None,
) -> None:
    """Repeat the first experiments: render, simulate, fit; write docs/results.md."""
    experiment = Experiment(kind, count, sends, epochs, image_size)
    report = run_experiment(experiment, out)
    beside = read_report(catalogue) if catalogue else None
    text = results_document(experiment, report, typed_command(), beside)
    if document is not None:
        _write(document, text)
    heads = {name: head["accuracy"] for name, head in report["heads"].items()}
    print(json.dumps({"recognition": report["backbone"]["test_accuracy"], "heads": heads}))


app.command()(instances)
app.command()(training)
app.command("prices")(refresh_prices)


def _image_files(images: Path) -> list[Path]:
    files = sorted(p for p in images.glob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise BadRequest(
            "there are no images", expected="files " + ", ".join(IMAGE_SUFFIXES), got=str(images)
        )
    return files


def _peers(names: str | None, quick: bool) -> list[str]:
    """The peers asked for; by default all, in a quick run one."""
    from benchmarks.serving.systems import PEERS

    if names is None:
        return list(QUICK_PEERS if quick else PEERS)
    chosen = [name for name in names.split(",") if name not in ("", "none")]
    for name in chosen:
        if name not in PEERS:
            raise BadRequest("no such peer", expected=one_of(PEERS, name), got=repr(name))
    return chosen


def _servers(content: dict[str, Any]) -> Table:
    table = Table(title="Servers at their peak")
    headings = ("Model", "TS throughput", "TS latency P50", "TS latency P99", "Lone latency P50",
                "MaxInvocations", "TS error rate", "Cost of a million")  # fmt: skip
    shown = [name for name in headings if name in content["servers"][0]]
    for heading in shown:
        table.add_column(heading, justify="left" if heading == "Model" else "right")
    for row in content["servers"]:
        cells = {**row, "TS throughput": f"{row['TS throughput']['median']:.2f}/s"}
        table.add_row(*(str(cells[name]) for name in shown))
    return table


def _ratios(content: dict[str, Any]) -> Table:
    table = Table(title="Ratios, in one run")
    for heading in ("ratio", "median", "low", "high"):
        table.add_column(heading, justify="left" if heading == "ratio" else "right")
    for name, figure in content["ratios"].items():
        table.add_row(name, *(f"{figure[key]:.4g}" for key in ("median", "low", "high")))
    return table


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(
            f"{file} cannot be read: {error}",
            expected="the results.json of another command",
        ) from error
    return content


def _write_json(file: Path, content: dict[str, Any]) -> None:
    _write(file, json.dumps(content, indent=2, allow_nan=False) + "\n")


def _write(document: Path, text: str) -> None:
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text(text, encoding="utf-8")


def _table(results: list[PipelineResult]) -> Table:
    table = Table(title="One request, in process: median ms (95 % interval)")
    table.add_column("graph, image")
    for heading in (*STAGES, "raw forward", "pipeline / forward"):
        table.add_column(heading, justify="right")
    for result in results:
        table.add_row(
            f"{result.precision}, {result.image}",
            *(f"{result.stages_ms[stage].median:.2f}" for stage in STAGES),
            result.forward_ms.shown(),
            result.pipeline_over_forward.shown(),
        )
    return table
