"""The training recipe of task ``classify``, readable top to bottom.

Train the backbone to tell the labels, and make graphs of it. With each graph, embed all images and
fit a head to each label. Judge the graphs, write the run.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.classify_run import ClassifyGraphRecord, ClassifyRun
from augrank.contracts.run import Precision
from augrank.files import atomic_write, read_json, write_json
from training.backbone.checkpoint import write_tensors
from training.backbone.embed import pair_keys
from training.backbone.model import InitialWeights
from training.backbone.train import TrainedBackbone, train_with_curves, use_threads
from training.common.context import TrainContext
from training.common.device import Device
from training.common.stage_timer import StageTimer
from training.data.classify_dataset import ClassifyDataset
from training.data.dataset import default_name
from training.graphs.embeddings import Embedded, EmbeddedBy, embed_graph, write_reference
from training.graphs.judge import Comparison, HeldOut, preferred
from training.graphs.write import write_graphs
from training.run.classify_report import plot_labels, print_report
from training.run.epoch import Epoch, ignore_epoch
from training.run.folder import RunFolder, installed_versions, write_catalogue
from training.run.plots import plot_curves
from training.run.report import history_entries

if TYPE_CHECKING:
    from training.heads.graph_heads import GraphHeads

__all__ = ["fit", "print_report"]  # what training.tasks.base.TrainTask asks for


@dataclass(frozen=True)
class GraphResult:
    """One graph, and what was learned from its embeddings.

    Attributes:
        precision: of the graph.
        device: that computed its embeddings: ``torch`` for fp32.
        heads: of the labels and the ranks.
        held_out: how it does on the validation and test splits.
        against_fp32: the same, compared with fp32; None for fp32.
    """

    precision: Precision
    device: EmbeddedBy
    heads: "GraphHeads"
    held_out: HeldOut
    against_fp32: Comparison | None = None

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """In what it is worse than fp32."""
        return self.against_fp32.shortfalls() if self.against_fp32 else ()


@dataclass(frozen=True)
class FitResult:
    """The results of training, before they are written."""

    data: ClassifyDataset
    device: Device
    trained: TrainedBackbone
    graphs: list[GraphResult]  # fp32 first

    @property
    def default(self) -> GraphResult:
        """The likely quickest graph of those that are as good as fp32."""
        return preferred(self.graphs)


def fit(
    data: ClassifyDataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None] = ignore_epoch,
    weights: InitialWeights | None = None,
) -> dict[str, Any] | None:
    """Train a run, or finish one that was interrupted.

    Args:
        data: the result of ``load_dataset``; its run directory has been started.
        ctx: progress and processes; the options choose the device.
        on_epoch: called after every epoch, and first for those before an interrupt.
        weights: the result of ``check_options``; by default they are loaded here.

    Returns:
        The contents of report.json; None outside the main process (rank 0).
    """
    ctx = ctx.on(Device.choose(data.config.device, data.config.precision))
    ctx = use_threads(data, ctx)
    ctx.world.check_same("device and precision", ctx.device.name)
    stage = StageTimer()
    with stage("backbone"):
        trained = train_with_curves(data, ctx, on_epoch, weights)
    with stage("graphs"):
        if ctx.world.is_main:
            write_graphs(data, trained, ctx)
    with stage("embeddings"):
        keys = pair_keys(data.files, np.zeros_like(data.files), 1)
        # Exactly, so that what is reported is what is served, image by image.
        names = data.config.graphs
        tables = [embed_graph(data, trained, each, keys, ctx, exact=True) for each in names]
    if not ctx.world.is_main:
        return None
    with stage("heads"):
        graphs = _fit_graphs(data, trained, tables, ctx)
    result = FitResult(data, ctx.device, trained, graphs)
    report = _report(result)
    with stage("plots"):
        plots, history = data.folder.plots, trained.history
        plot_curves(plots / "curves.png", history.epochs, history.best)
        plot_labels(plots, report["labels"])
    report["seconds"] = stage.seconds
    _write(result, report, ctx)
    return read_json(data.folder.report)


def _fit_graphs(
    data: ClassifyDataset, trained: TrainedBackbone, tables: list[Embedded], ctx: TrainContext
) -> list[GraphResult]:
    """Fit the heads of every graph, and judge the graphs."""
    from training.heads.graph_heads import fit_graph_heads  # slow: loads XGBoost

    results: list[GraphResult] = []
    count, threads = len(tables) * len(data.classes), ctx.threads.count
    with ctx.reporter.bar("Heads", count, "heads") as advance:
        for embedded in tables:
            heads = fit_graph_heads(data, trained.backbone, embedded, threads, advance)
            result = GraphResult(embedded.precision, embedded.device, heads, heads.held_out())
            if results:
                against = Comparison.of(result.held_out, results[0].held_out)
                result = replace(result, against_fp32=against)
            results.append(result)
    return results


def _report(result: FitResult) -> dict[str, Any]:
    """Return the contents of report.json."""
    data, trained, default = result.data, result.trained, result.default
    return {
        "task": "classify",
        "name": data.config.name or default_name(data.config.out),
        "rows": data.row_counts(),
        "backbone": {
            "architecture": data.config.backbone,
            "start": trained.start,
            "image_size": data.config.image_size,
            "device": result.device.name,
            "best_epoch": trained.history.best,
        },
        "history": history_entries(trained.history.epochs),
        "labels": {head.head.spec.label: head.entry() for head in default.heads.labels},
        "ranks": {head.head.spec.rank: head.metrics() for head in default.heads.ranks},
        "graph": default.precision,
        "graphs": {graph.precision: _graph_entry(graph) for graph in result.graphs},
        "notes": _notes(data),
    }


def _graph_entry(graph: GraphResult) -> dict[str, Any]:
    """Return a graph's entry in report.json."""
    return {
        "embedded_by": graph.device,
        **graph.heads.metrics,
        "against_fp32": asdict(graph.against_fp32) if graph.against_fp32 else None,
        "shortfalls": list(graph.shortfalls),
    }


def _notes(data: ClassifyDataset) -> list[str]:
    notes = []
    if data.copies:
        notes.append(
            f"{data.copies:,} images show the same picture as others, and are in the same split as "
            "those."
        )
    if data.config.skip_bad_rows and data.manifest.left_out:
        notes.append(f"{data.manifest.skipped:,} bad rows were left out: {data.folder.skipped}")
    return notes


def _write(result: FitResult, report: Mapping[str, Any], ctx: TrainContext) -> None:
    """Write the run directory; run.json last, since it makes the run complete."""
    data, trained = result.data, result.trained
    folder, config = data.folder, data.config
    for graph in result.graphs:
        graph.heads.save(folder.root)
        _write_calibration(graph, folder)
        write_reference(data, trained, graph.precision, ctx)
    write_tensors(folder.weights, trained.backbone.plain_state())
    write_catalogue(folder.catalogue, data.catalogue())
    write_json(folder.report, report)
    record = ClassifyRun(
        name=report["name"],
        backbone=config.backbone,
        image_size=config.image_size,
        mean=trained.mean,
        std=trained.std,
        feature_width=trained.backbone.feature_width,
        labels=tuple(label.name for label in data.labels),
        ranks=tuple(rank.name for rank in data.ranks),
        graphs={graph.precision: _graph_record(graph, folder) for graph in result.graphs},
        images=data.manifest.images,
        catalogue=folder.catalogue.name,
        weights_file=folder.weights.name,
        backbone_metrics={},
        rows=data.row_counts(),
        library_versions=installed_versions(),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        fingerprint=data.fingerprint,
    )
    write_json(folder.record, record.model_dump())


def _write_calibration(graph: GraphResult, folder: RunFolder) -> None:
    """Write what the heads say of the calibration images, from which export fits rules.

    ``probability-0`` (n, K), ``label-0`` (n,) and ``group-0`` (n,) are of the first label.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for number, head in enumerate(graph.heads.labels):
        arrays |= {
            f"probability-{number}": head.held.probability,
            f"label-{number}": head.held.label,
            f"group-{number}": head.held.group,
        }
    file = folder.calibration(graph.precision)
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _graph_record(graph: GraphResult, folder: RunFolder) -> ClassifyGraphRecord:
    precision, heads = graph.precision, graph.heads
    return ClassifyGraphRecord(
        file=folder.graph(precision).relative_to(folder.root).as_posix(),
        reference=folder.reference(precision).name,
        device=graph.device,
        metrics=heads.metrics,
        shortfalls=graph.shortfalls,
        heads=tuple(
            head.head.spec.model_copy(update={"metrics": head.metrics()}) for head in heads.labels
        ),
        rankers=tuple(
            head.head.spec.model_copy(update={"metrics": head.metrics()}) for head in heads.ranks
        ),
        calibration=folder.calibration(precision).name,
    )
