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
from augrank.models.label_head import Linear
from training.backbone.checkpoint import write_tensors
from training.backbone.embed import pair_keys
from training.backbone.model import InitialWeights
from training.backbone.train import TrainedBackbone, train_with_curves, use_threads
from training.common.classification import row_losses
from training.common.context import TrainContext
from training.common.device import Device
from training.common.stage_timer import StageTimer
from training.data.classify_dataset import CALIBRATION, SPLIT_NAMES, ClassifyDataset
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
    from training.heads.label_heads import FittedLabelHead

__all__ = ["fit", "print_report"]  # what training.tasks.base.TrainTask asks for


@dataclass(frozen=True)
class GraphResult:
    """One graph, and what was learned from its embeddings.

    Attributes:
        precision: of the graph.
        device: that computed its embeddings: ``torch`` for fp32.
        heads: one for each label.
        held_out: how it does on the validation and test splits.
        against_fp32: the same, compared with fp32; None for fp32.
    """

    precision: Precision
    device: EmbeddedBy
    heads: list["FittedLabelHead"]
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
    results: list[GraphResult] = []
    with ctx.reporter.bar("Heads", len(tables) * len(data.labels), "heads") as advance:
        for embedded in tables:
            heads = _fit_heads(data, trained, embedded, ctx, advance)
            result = GraphResult(embedded.precision, embedded.device, heads, _held_out(heads))
            if results:
                against = Comparison.of(result.held_out, results[0].held_out)
                result = replace(result, against_fp32=against)
            results.append(result)
    return results


def _fit_heads(
    data: ClassifyDataset,
    trained: TrainedBackbone,
    embedded: Embedded,
    ctx: TrainContext,
    advance: Callable[[int, str], None],
) -> list["FittedLabelHead"]:
    from training.heads.label_heads import fit_label_head, labelled  # slow: loads XGBoost

    table, heads, first = embedded.table, [], 0
    assert table is not None
    weight, bias = (
        each.detach().cpu().numpy()
        for each in (trained.backbone.last.weight, trained.backbone.last.bias)
    )
    for number, label in enumerate(data.labels):
        columns = slice(first, first + len(label.classes))
        first = columns.stop
        parts = {}
        for split in range(len(SPLIT_NAMES)):
            samples = data.samples(split)
            rows = table.rows(samples.file, samples.applied)
            features, logits = table.features[rows], table.logits[rows][:, columns]
            groups = data.groups(split)
            parts[split] = labelled(features, logits, samples.label[:, number], groups)
        heads.append(
            fit_label_head(
                label,
                parts,
                Linear(weight[columns], bias[columns]),
                f"heads/{embedded.precision}/label-{number}",
                calibration=CALIBRATION,
                seed=data.config.seed,
                threads=ctx.threads.count,
            )
        )
        advance(1, f"{embedded.precision}: {label.name}")
    return heads


def _held_out(heads: list["FittedLabelHead"]) -> HeldOut:
    """Return how heads do on the validation and test splits; every label counts the same.

    Validation chose each graph's heads in the same way, so it favours none. The calibration split
    judges nothing: what is promised of its images depends on that.
    """
    parts = [[head.validation, head.test] for head in heads]
    probability = [np.concatenate([each.probability for each in told]) for told in parts]
    label = [np.concatenate([each.label for each in told]) for told in parts]
    group = np.concatenate([each.group for told in parts for each in told])
    pairs = list(zip(probability, label, strict=True))
    return HeldOut(
        correct=np.concatenate([p.argmax(axis=1) == y for p, y in pairs]),
        file=group,
        loss=np.concatenate([row_losses(p, y) for p, y in pairs]),
        weight=np.concatenate([np.full(len(y), 1 / len(y)) for y in label]),
        original=group,
        base_loss=float(np.mean([_guessing_loss(y) for y in label])),
        regret=None,
    )


def _guessing_loss(label: NDArray[np.int64]) -> float:
    """Return the log loss of predicting the shares of the classes for each image, in nats."""
    counts = np.bincount(label)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


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
        "labels": _labels(default),
        "graph": default.precision,
        "graphs": {graph.precision: _graph_entry(graph) for graph in result.graphs},
        "notes": _notes(data),
    }


def _labels(graph: GraphResult) -> dict[str, Any]:
    return {head.head.spec.label: head.entry() for head in graph.heads}


def _graph_entry(graph: GraphResult) -> dict[str, Any]:
    """Return a graph's entry in report.json: means over its labels, test split."""
    figures = [head.figures for head in graph.heads]
    return {
        "embedded_by": graph.device,
        "accuracy": float(np.mean([each.accuracy for each in figures])),
        "macro_f1": float(np.mean([each.macro_f1 for each in figures])),
        "log_loss": float(np.mean([each.log_loss for each in figures])),
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
        for head in graph.heads:
            head.save(folder.root)
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
    for number, head in enumerate(graph.heads):
        arrays |= {
            f"probability-{number}": head.held.probability,
            f"label-{number}": head.held.label,
            f"group-{number}": head.held.group,
        }
    file = folder.calibration(graph.precision)
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def _graph_record(graph: GraphResult, folder: RunFolder) -> ClassifyGraphRecord:
    precision, figures = graph.precision, [head.figures for head in graph.heads]
    return ClassifyGraphRecord(
        file=folder.graph(precision).relative_to(folder.root).as_posix(),
        reference=folder.reference(precision).name,
        device=graph.device,
        metrics={
            "accuracy": float(np.mean([each.accuracy for each in figures])),
            "macro_f1": float(np.mean([each.macro_f1 for each in figures])),
        },
        shortfalls=graph.shortfalls,
        heads=tuple(
            head.head.spec.model_copy(update={"metrics": head.metrics()}) for head in graph.heads
        ),
        calibration=folder.calibration(precision).name,
    )
