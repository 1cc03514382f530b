"""The training recipe of task ``recommend``, readable top to bottom.

Train the backbone to recognise augmentations, embed all images, fit the heads, write the run.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from augrank.contracts.recommend_run import RecommendRun
from augrank.files import atomic_write, read_json, write_json
from training.backbone.checkpoint import write_tensors
from training.backbone.embed import EmbeddingTable, embed, embed_all, pair_keys
from training.backbone.loader import EVALUATION_BATCH
from training.backbone.model import InitialWeights
from training.backbone.train import TrainedBackbone, train_backbone, use_threads
from training.common.context import TrainContext
from training.common.device import Device
from training.common.metrics import reliability
from training.data.dataset import Dataset, default_name
from training.data.embedding_cache import EmbeddingStore
from training.data.splits import TEST
from training.heads.summary import head_entry
from training.run.epoch import Epoch, ignore_epoch
from training.run.folder import installed_versions, write_catalogue, write_reference
from training.run.plots import plot_comparison, plot_confusion, plot_curves, plot_reliability
from training.run.report import (
    BackboneFigures,
    backbone_figures,
    history_entries,
    print_report,
)
from training.run.tensorboard import TensorBoardWriter

if TYPE_CHECKING:
    from training.heads.fit_all import TargetResult

__all__ = ["fit", "print_report"]  # what training.tasks.base.TrainTask asks for
REFERENCE_IMAGES = 48


@dataclass
class StageTimer:
    """Measures how long each stage takes, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


@dataclass(frozen=True)
class FitResult:
    """The results of training, before they are written.

    Attributes:
        data: the training data.
        device: the device and precision of training.
        trained: the backbone.
        figures: how well the backbone recognises augmentations of test originals.
        targets: a head for each target with outcomes in every split.
        notes: remarks for the report.
    """

    data: Dataset
    device: Device
    trained: TrainedBackbone
    figures: BackboneFigures
    targets: list["TargetResult"]
    notes: list[str]


def fit(
    data: Dataset,
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
        trained = _train_backbone(data, ctx, on_epoch, weights)
    with stage("embeddings"):
        table = _embed(data, trained, ctx)
    if table is None:
        return None
    figures = _test_backbone(data, table)
    with stage("heads") if data.outcomes else nullcontext():
        targets, notes = _fit_heads(data, table, ctx)
    result = FitResult(data, ctx.device, trained, figures, targets, notes)
    report = _report(result)
    with stage("plots"):
        _plot(result, report)
    report["seconds"] = stage.seconds
    _write(result, report)
    return read_json(data.folder.report)


def _train_backbone(
    data: Dataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None],
    weights: InitialWeights | None,
) -> TrainedBackbone:
    """Train the backbone, with live curves in TensorBoard."""
    if not ctx.world.is_main:
        return train_backbone(data, ctx, initial=weights)
    with TensorBoardWriter(data.folder.tensorboard) as curves:

        def record(epoch: Epoch) -> None:
            curves.add(epoch)
            on_epoch(epoch)

        return train_backbone(data, ctx, record, weights)


def _embed(data: Dataset, trained: TrainedBackbone, ctx: TrainContext) -> EmbeddingTable | None:
    """Embed every shown image, every original, and every candidate of the test originals.

    Embeddings of an interrupted call come from the run's cache. With a frozen backbone, other runs
    embed with the same weights, so they share them.

    Returns:
        The table; None outside the main process (rank 0).
    """
    config, count, world = data.config, len(data.augmentations.names), ctx.world
    test = data.samples(TEST)
    shown = [pair_keys(test.file, test.applied, count)]
    if data.outcomes:
        shown.append(pair_keys(data.manifest.file, data.manifest.applied, count))
        originals = data.original_file[data.original_file >= 0]
        shown.append(pair_keys(originals, np.zeros_like(originals), count))
    keys = np.unique(np.concatenate(shown))
    names = data.pair_names(keys)
    store = EmbeddingStore(
        (config.cache if config.freeze else None) or data.folder.cache,
        trained.digest(config.image_size, ctx.device),
        trained.backbone.feature_width,
        config.cache_gb,
        ctx.reporter.say,
    )
    stored = True
    with store.locked() if world.is_main else nullcontext():
        cached = store.read(names) if world.is_main else None
        missing = world.broadcast(None if cached is None else cached[1])
        assert missing is not None
        loader = trained.loader(data, EVALUATION_BATCH, ctx)
        for chunk, features in embed(trained.backbone, loader, keys[missing], count, ctx=ctx):
            if cached is not None and features is not None:
                cached[0][missing[chunk]] = features
                chunk_names = [names[number] for number in missing[chunk]]
                stored = stored and store.add(chunk_names, features)
    if not stored:
        ctx.reporter.say("The cache is full: embeddings will be computed again next time.")
    if cached is None:
        return None
    return EmbeddingTable.from_features(trained.backbone, cached[0], keys)


def _test_backbone(data: Dataset, table: EmbeddingTable) -> BackboneFigures:
    test = data.samples(TEST)
    logits = table.logits[table.rows(test.file, test.applied)]
    return backbone_figures(logits, test.label, data.augmentations.names)


def _fit_heads(
    data: Dataset, table: EmbeddingTable, ctx: TrainContext
) -> tuple[list["TargetResult"], list[str]]:
    """Fit the heads; return them with notes for the report."""
    notes: list[str] = []
    targets: list[TargetResult] = []
    if data.outcomes:
        from training.heads.fit_all import (
            fit_heads,
        )  # slow: loads XGBoost, scikit-learn

        if ctx.device.is_cuda:
            torch.cuda.empty_cache()  # XGBoost allocates its own memory there
        targets = fit_heads(data, table, ctx, notes)
    else:
        notes.append("The manifest has no targets: only the backbone was trained, without heads.")
    if data.copies:
        notes.append(
            f"{data.copies:,} originals are copies of others and are in the same split as those."
        )
    return targets, notes


def _report(result: FitResult) -> dict[str, Any]:
    """Return the contents of report.json."""
    data, trained = result.data, result.trained
    return {
        "name": data.config.name or default_name(data.config.out),
        "rows": data.row_counts(),
        "backbone": {
            "architecture": data.config.backbone,
            "start": trained.start,
            "image_size": data.config.image_size,
            "device": result.device.name,
            "best_epoch": trained.history.best,
            **asdict(result.figures),
        },
        "history": history_entries(trained.history.epochs),
        "heads": {
            target.head.spec.target.name: head_entry(target.head, target.baselines)
            for target in result.targets
        },
        "notes": result.notes,
    }


def _plot(result: FitResult, report: dict[str, Any]) -> None:
    plots, history = result.data.folder.plots, result.trained.history
    plot_curves(plots / "curves.png", history.epochs, history.best)
    plot_confusion(plots / "confusion.png", result.figures)
    if result.targets:
        bins = {
            target.head.spec.target.name: reliability(
                target.test.label, target.head.test_probability, target.test.weight
            )
            for target in result.targets
        }
        ece = {name: head["ece"] for name, head in report["heads"].items()}
        plot_reliability(plots / "reliability.png", bins, ece)
        plot_comparison(plots / "comparison.png", report["heads"])


def _write(result: FitResult, report: dict[str, Any]) -> None:
    """Write the run directory; run.json last, since it makes the run complete."""
    data, trained = result.data, result.trained
    folder, config = data.folder, data.config
    heads = [target.head for target in result.targets]
    for head in heads:
        with atomic_write(folder.root / head.spec.file) as temporary:
            # Not XGBoost's own writer, which does not report a full disk.
            temporary.write_bytes(head.booster.save_raw("ubj"))
        for file, posterior in (
            (head.spec.posterior, head.posterior),
            (head.spec.tested_posterior, head.tested_posterior),
        ):
            with atomic_write(folder.root / file) as temporary:
                posterior.save(temporary)
    write_tensors(folder.weights, trained.backbone.plain_state())
    write_catalogue(folder.catalogue, data.catalogue())
    _write_reference(result)
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
        targets=tuple(head.spec.target for head in heads),
        heads=tuple(head.spec for head in heads),
        images=data.manifest.images,
        catalogue=folder.catalogue.name,
        weights_file=folder.weights.name,
        backbone_metrics=asdict(result.figures),
        rows=data.row_counts(),
        library_versions=installed_versions(),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        fingerprint=data.fingerprint,
    )
    write_json(folder.record, record.model_dump())


def _write_reference(result: FitResult) -> None:
    """Write float32 embeddings of all candidates of some test originals, in manifest order."""
    data, trained, count = result.data, result.trained, len(result.data.augmentations.names)
    held_out = np.flatnonzero((data.split == TEST) & (data.original_file >= 0))
    held_out = held_out[:REFERENCE_IMAGES]
    file = np.repeat(data.original_file[held_out], count).reshape(-1, count)
    applied = np.broadcast_to(np.arange(count), file.shape)
    keys, ctx = pair_keys(file, applied, count).ravel(), TrainContext(device=result.device)
    loader = trained.loader(data, EVALUATION_BATCH, ctx)
    table = embed_all(trained.backbone, loader, keys, count, ctx=ctx, exact=True)
    rows = table.rows(file, applied)
    paths = [data.manifest.originals[number] for number in held_out]
    write_reference(data.folder.reference, paths, table.features[rows], table.logits[rows])
