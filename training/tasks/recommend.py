"""The training recipe of task ``recommend``, readable top to bottom.

Train the backbone to recognise augmentations and make graphs of it. With each graph, embed all
images and fit the heads. Judge the graphs, write the run.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from augrank.contracts.recommend_run import RecommendGraphRecord, RecommendRun
from augrank.contracts.run import Precision
from augrank.files import read_json, write_json
from training.backbone.checkpoint import write_tensors
from training.backbone.embed import pair_keys
from training.backbone.model import InitialWeights
from training.backbone.train import TrainedBackbone, train_with_curves, use_threads
from training.common.context import TrainContext
from training.common.device import Device
from training.common.metrics import reliability, row_log_losses
from training.common.stage_timer import StageTimer
from training.data.dataset import default_name
from training.data.recommend_dataset import RecommendDataset
from training.data.splits import TEST
from training.graphs.embeddings import Embedded, EmbeddedBy, embed_graph, write_reference
from training.graphs.judge import (
    Comparison,
    HeldOut,
    base_rate_loss,
    preferred,
    relative_regret,
)
from training.graphs.write import write_graphs
from training.heads.summary import head_entry
from training.run.epoch import Epoch, ignore_epoch
from training.run.folder import RunFolder, installed_versions, write_catalogue
from training.run.plots import plot_comparison, plot_confusion, plot_curves, plot_reliability
from training.run.report import (
    BackboneFigures,
    backbone_figures,
    history_entries,
    print_report,
)

if TYPE_CHECKING:
    from training.heads.fit_all import TargetResult

__all__ = ["fit", "print_report"]  # what training.tasks.base.TrainTask asks for


@dataclass(frozen=True)
class GraphResult:
    """One graph, and what was learned from its embeddings.

    Attributes:
        precision: of the graph.
        device: that computed its embeddings: ``torch`` for fp32.
        figures: how well the backbone recognises augmentations of test originals.
        targets: a head for each target with outcomes in every split.
        held_out: how it does on held-out data.
        against_fp32: the same, compared with fp32; None for fp32.
    """

    precision: Precision
    device: EmbeddedBy
    figures: BackboneFigures
    targets: list["TargetResult"]
    held_out: HeldOut
    against_fp32: Comparison | None = None

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """In what it is worse than fp32."""
        return self.against_fp32.shortfalls() if self.against_fp32 else ()


@dataclass(frozen=True)
class FitResult:
    """The results of training, before they are written.

    Attributes:
        data: the training data.
        device: the device and precision of training.
        trained: the backbone.
        graphs: fp32 first; that alone, and without a file, if there are no outcomes.
        notes: remarks for the report.
    """

    data: RecommendDataset
    device: Device
    trained: TrainedBackbone
    graphs: list[GraphResult]
    notes: list[str]

    @property
    def default(self) -> GraphResult:
        """The likely quickest graph of those that are as good as fp32."""
        return preferred(self.graphs)

    @property
    def exact(self) -> GraphResult:
        """The fp32 graph."""
        return self.graphs[0]


def fit(
    data: RecommendDataset,
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
    with stage("graphs") if data.outcomes else nullcontext():
        if data.outcomes and ctx.world.is_main:
            write_graphs(data, trained, ctx)
    with stage("embeddings"):
        shown = _shown(data)
        tables = [embed_graph(data, trained, each, shown, ctx) for each in _graphs(data)]
    if not ctx.world.is_main:
        return None
    notes: list[str] = []
    with stage("heads") if data.outcomes else nullcontext():
        graphs = _fit_heads(data, tables, ctx, notes)
    result = FitResult(data, ctx.device, trained, graphs, notes)
    report = _report(result)
    with stage("plots"):
        _plot(result, report)
    report["seconds"] = stage.seconds
    _write(result, report, ctx)
    return read_json(data.folder.report)


def _graphs(data: RecommendDataset) -> tuple[Precision, ...]:
    """Return the graphs to make, fp32 first; it alone if there is nothing to serve."""
    others = [each for each in data.config.graphs if each != "fp32"]
    return ("fp32", *others) if data.outcomes else ("fp32",)


def _shown(data: RecommendDataset) -> NDArray[np.int64]:
    """Return every shown image, every original, and every candidate of the test originals."""
    count, test = len(data.augmentations.names), data.samples(TEST)
    shown = [pair_keys(test.file, test.applied, count)]
    if data.outcomes:
        shown.append(pair_keys(data.manifest.file, data.manifest.applied, count))
        originals = data.original_file[data.original_file >= 0]
        shown.append(pair_keys(originals, np.zeros_like(originals), count))
    return np.unique(np.concatenate(shown))


def _fit_heads(
    data: RecommendDataset, tables: list[Embedded], ctx: TrainContext, notes: list[str]
) -> list[GraphResult]:
    """Fit the heads of every graph, and judge the graphs."""
    results: list[GraphResult] = []
    if data.outcomes and ctx.device.is_cuda:
        torch.cuda.empty_cache()  # XGBoost allocates its own memory there
    while tables:
        embedded = tables.pop(0)  # its memory is needed for the next one's heads
        exact = results[0] if results else None
        if exact and not exact.targets:
            break  # there is nothing to serve
        result = _fit_graph(data, embedded, exact, ctx, notes)
        if exact:
            result = replace(result, against_fp32=Comparison.of(result.held_out, exact.held_out))
        results.append(result)
    if not data.outcomes:
        notes.append("The manifest has no targets: only the backbone was trained, without heads.")
    if data.copies:
        notes.append(
            f"{data.copies:,} originals show the same picture as others, and are in the same split "
            "as those."
        )
    return results


def _fit_graph(
    data: RecommendDataset,
    embedded: Embedded,
    exact: GraphResult | None,
    ctx: TrainContext,
    notes: list[str],
) -> GraphResult:
    """Fit the heads of one graph; of another than fp32, with the inputs of fp32's heads."""
    table, test = embedded.table, data.samples(TEST)
    assert table is not None
    logits = table.logits[table.rows(test.file, test.applied)]
    targets: list[TargetResult] = []
    if data.outcomes:
        from training.heads.fit_all import fit_heads  # slow: loads XGBoost, scikit-learn

        like = exact.targets if exact else ()
        targets = fit_heads(data, table, ctx, notes, graph=embedded.precision, like=like)
    losses = [row_log_losses(target.test.label, target.head.test_probability) for target in targets]
    decisions = [target.head.spec.metrics["decision"] for target in targets]
    regrets = [relative_regret(each["regret"], each["picked_rate"]) for each in decisions]
    return GraphResult(
        embedded.precision,
        embedded.device,
        backbone_figures(logits, test.label, data.augmentations.names),
        targets,
        HeldOut(
            correct=logits.argmax(axis=1) == test.label,
            file=test.file,
            loss=np.concatenate([*losses, np.empty(0)]),
            weight=np.concatenate([t.test.weight / t.test.weight.sum() for t in targets] + [[]]),
            original=np.concatenate([t.test.original for t in targets] + [np.empty(0, np.int64)]),
            base_loss=_mean([base_rate_loss(t.test.label, t.test.weight) for t in targets]),
            regret=_mean(regrets),
        ),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if there are no values, or one is unknown."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _report(result: FitResult) -> dict[str, Any]:
    """Return the contents of report.json."""
    data, trained, default = result.data, result.trained, result.default
    return {
        "name": data.config.name or default_name(data.config.out),
        "rows": data.row_counts(),
        "backbone": {
            "architecture": data.config.backbone,
            "start": trained.start,
            "image_size": data.config.image_size,
            "device": result.device.name,
            "best_epoch": trained.history.best,
            **asdict(default.figures),
        },
        "history": history_entries(trained.history.epochs),
        "heads": {
            target.head.spec.target.name: head_entry(target.head, target.baselines)
            for target in default.targets
        },
        "graph": default.precision,
        "graphs": {graph.precision: _graph_entry(graph) for graph in result.graphs},
        "notes": list(dict.fromkeys(result.notes)),
    }


def _graph_entry(graph: GraphResult) -> dict[str, Any]:
    """Return a graph's entry in report.json: means over its heads, test split."""
    metrics = [target.head.spec.metrics for target in graph.targets]
    return {
        "embedded_by": graph.device,
        "test_accuracy": graph.figures.test_accuracy,
        "accuracy": _mean([each["accuracy"] for each in metrics]),
        "log_loss": graph.held_out.mean_loss if metrics else None,
        "regret": _mean([each["decision"]["regret"] for each in metrics]),
        "against_fp32": asdict(graph.against_fp32) if graph.against_fp32 else None,
        "shortfalls": list(graph.shortfalls),
    }


def _plot(result: FitResult, report: dict[str, Any]) -> None:
    plots, history = result.data.folder.plots, result.trained.history
    plot_curves(plots / "curves.png", history.epochs, history.best)
    default = result.default
    plot_confusion(plots / "confusion.png", default.figures)
    if default.targets:
        bins = {
            target.head.spec.target.name: reliability(
                target.test.label, target.head.test_probability, target.test.weight
            )
            for target in default.targets
        }
        ece = {name: head["ece"] for name, head in report["heads"].items()}
        plot_reliability(plots / "reliability.png", bins, ece)
        plot_comparison(plots / "comparison.png", report["heads"])


def _write(result: FitResult, report: dict[str, Any], ctx: TrainContext) -> None:
    """Write the run directory; run.json last, since it makes the run complete."""
    data, trained = result.data, result.trained
    folder, config = data.folder, data.config
    heads = [target.head for graph in result.graphs for target in graph.targets]
    for head in {head.spec.file: head for head in heads}.values():
        head.save(folder.root)
    write_tensors(folder.weights, trained.backbone.plain_state())
    write_catalogue(folder.catalogue, data.catalogue())
    graphs = result.graphs if data.outcomes else []
    for graph in graphs:
        write_reference(data, trained, graph.precision, ctx)
    write_json(folder.report, report)
    record = RecommendRun(
        name=report["name"],
        backbone=config.backbone,
        image_size=config.image_size,
        mean=trained.mean,
        std=trained.std,
        feature_width=trained.backbone.feature_width,
        augmentations=data.augmentations,
        augmentation_hash=data.augmentations.hash,
        context=data.context,
        targets=tuple(target.head.spec.target for target in result.exact.targets),
        graphs={graph.precision: _graph_record(graph, folder) for graph in graphs},
        images=data.manifest.images,
        catalogue=folder.catalogue.name,
        weights_file=folder.weights.name,
        backbone_metrics=asdict(result.exact.figures),
        rows=data.row_counts(),
        library_versions=installed_versions(),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        fingerprint=data.fingerprint,
    )
    write_json(folder.record, record.model_dump())


def _graph_record(graph: GraphResult, folder: RunFolder) -> RecommendGraphRecord:
    precision = graph.precision
    return RecommendGraphRecord(
        file=folder.graph(precision).relative_to(folder.root).as_posix(),
        reference=folder.reference(precision).name,
        device=graph.device,
        metrics=asdict(graph.figures),
        shortfalls=graph.shortfalls,
        heads=tuple(target.head.spec for target in graph.targets),
    )
