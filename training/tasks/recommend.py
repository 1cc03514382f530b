"""Training from end to end, readable top to bottom: recognise, embed, fit heads, write the run."""

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
from training.backbone.train import TrainedBackbone, train_backbone, use_threads
from training.common.context import TrainContext
from training.common.device import Device
from training.common.metrics import reliability
from training.data.dataset import Dataset, default_name
from training.data.embedding_cache import EmbeddingStore
from training.data.splits import TEST
from training.heads.summary import head_entry
from training.run.epoch import Epoch
from training.run.folder import installed_versions, write_catalogue, write_reference
from training.run.plots import plot_comparison, plot_confusion, plot_curves, plot_reliability
from training.run.report import BackboneFigures, backbone_figures, history_entries
from training.run.tensorboard import Curves

if TYPE_CHECKING:
    from training.heads.fit_all import TargetResult

REFERENCE_IMAGES = 48


@dataclass
class Stages:
    """How long each stage took, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def fit(
    data: Dataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> dict[str, Any] | None:
    """Train a run from prepared data, or finish one that was interrupted.

    Args:
        data: of ``load_dataset``; its folder has been started.
        ctx: progress and processes; the device is chosen by the options.
        on_epoch: told of every epoch, those of before an interrupt first.

    Returns:
        The contents of report.json; None in processes that do not lead.
    """
    use_threads(data.threads)
    ctx = ctx.on(Device.choose(data.config.device, data.config.precision))
    ctx.world.check_same("device and precision", ctx.device.name)
    stages = Stages()
    notes: list[str] = []

    with stages("backbone"):
        learned = _learn(data, ctx, on_epoch)
    with stages("embeddings"):
        table = _embed(data, learned, ctx)
    if table is None:
        return None
    figures = _test_backbone(data, table)
    results: list[TargetResult] = []
    if data.outcomes:
        from training.heads.fit_all import (
            fit_heads,  # XGBoost and scikit-learn take seconds to load
        )

        if ctx.device.is_cuda:
            torch.cuda.empty_cache()  # XGBoost has memory of its own there
        with stages("heads"):
            results = fit_heads(data, table, ctx, notes)
    else:
        notes.append("The manifest has no targets: the backbone was trained alone, without heads.")
    if data.copies:
        notes.append(f"{data.copies:,} originals are copies of others and stand on their side.")

    report = _report(data, learned, ctx.device, figures, results, notes)
    with stages("plots"):
        _plot(data, learned, figures, results, report)
    report["seconds"] = stages.seconds
    _write(data, learned, ctx.device, figures, results, report)
    return read_json(data.folder.report)


# --- The backbone ---------------------------------------------------------------------------------


def _learn(
    data: Dataset,
    ctx: TrainContext,
    on_epoch: Callable[[Epoch], None],
) -> TrainedBackbone:
    """With live curves."""
    if not ctx.world.is_main:
        return train_backbone(data, ctx)
    with Curves(data.folder.tensorboard) as curves:

        def tell(epoch: Epoch) -> None:
            curves.epoch(epoch)
            on_epoch(epoch)

        return train_backbone(data, ctx, tell)


def _embed(data: Dataset, learned: TrainedBackbone, ctx: TrainContext) -> EmbeddingTable | None:
    """Every image that was shown, and every candidate of the test originals.

    What an interrupted call has embedded is taken from the run's cache; where the backbone is
    frozen, other runs may embed with the same weights, and share them.
    """
    config, count = data.config, len(data.augmentations.names)
    test = data.samples(TEST)
    shown = [pair_keys(test.file, test.applied, count)]
    if data.outcomes:
        shown.append(pair_keys(data.manifest.file, data.manifest.applied, count))
    keys = np.unique(np.concatenate(shown))
    names = data.pair_names(keys)
    store = EmbeddingStore(
        (config.cache if config.freeze else None) or data.folder.cache,
        learned.digest(config.image_size, ctx.device),
        learned.backbone.feature_width,
        config.cache_gb,
        ctx.reporter.say,
    )
    keeps = True
    with store.locked() if ctx.world.is_main else nullcontext():
        kept = store.read(names) if ctx.world.is_main else None
        missing = ctx.world.broadcast(None if kept is None else kept[1])
        assert missing is not None
        for part, made in embed(
            learned.backbone, learned.loader(data, EVALUATION_BATCH, ctx), keys[missing], count,
            ctx=ctx,
        ):  # fmt: skip
            if kept is not None and made is not None:
                kept[0][missing[part]] = made
                keeps = keeps and store.add([names[number] for number in missing[part]], made)
    if not keeps:
        ctx.reporter.say("There is no room to keep embeddings: another call makes them again.")
    return None if kept is None else EmbeddingTable.from_features(learned.backbone, kept[0], keys)


def _test_backbone(data: Dataset, table: EmbeddingTable) -> BackboneFigures:
    test = data.samples(TEST)
    logits = table.logits[table.rows(test.file, test.applied)]
    return backbone_figures(logits, test.label, data.augmentations.names)


# --- What is written ------------------------------------------------------------------------------


def _report(
    data: Dataset,
    learned: TrainedBackbone,
    device: Device,
    figures: BackboneFigures,
    results: list["TargetResult"],
    notes: list[str],
) -> dict[str, Any]:
    return {
        "name": data.config.name or default_name(data.config.out),
        "rows": data.row_counts(),
        "backbone": {
            "architecture": data.config.backbone,
            "start": learned.start,
            "image_size": data.config.image_size,
            "engine": device.name,
            "best_epoch": learned.history.best,
            **asdict(figures),
        },
        "history": history_entries(learned.history.epochs),
        "heads": {r.head.spec.target.name: head_entry(r.head, r.baselines) for r in results},
        "notes": notes,
    }


def _plot(
    data: Dataset,
    learned: TrainedBackbone,
    figures: BackboneFigures,
    results: list["TargetResult"],
    report: dict[str, Any],
) -> None:
    plots = data.folder.plots
    plot_curves(plots / "curves.png", learned.history.epochs, learned.history.best)
    plot_confusion(plots / "confusion.png", figures)
    if results:
        bins = {
            r.head.spec.target.name: reliability(
                r.test.label, r.head.test_probability, r.test.weight
            )
            for r in results
        }
        ece = {name: head["ece"] for name, head in report["heads"].items()}
        plot_reliability(plots / "reliability.png", bins, ece)
        plot_comparison(plots / "comparison.png", report["heads"])


def _write(
    data: Dataset,
    learned: TrainedBackbone,
    device: Device,
    figures: BackboneFigures,
    results: list["TargetResult"],
    report: dict[str, Any],
) -> None:
    folder, config = data.folder, data.config
    for result in results:
        with atomic_write(folder.root / result.head.spec.file) as temporary:
            temporary.write_bytes(result.head.booster.save_raw("ubj"))  # tells of a full disk
    write_tensors(folder.weights, learned.backbone.plain_state())
    write_catalogue(folder.catalogue, data.catalogue())
    _write_reference(data, learned, device)
    write_json(folder.report, report)
    record = RecommendRun(
        name=report["name"],
        backbone=config.backbone,
        image_size=config.image_size,
        mean=learned.mean,
        std=learned.std,
        feature_width=learned.backbone.feature_width,
        augmentations=data.augmentations,
        augmentation_hash=data.augmentations.hash,
        context=data.context,
        targets=tuple(result.head.spec.target for result in results),
        heads=tuple(result.head.spec for result in results),
        images=data.manifest.images,
        catalogue=folder.catalogue.name,
        weights_file=folder.weights.name,
        backbone_metrics=asdict(figures),
        rows=data.row_counts(),
        library_versions=installed_versions(),
        seed=config.seed,
        config=config.model_dump(mode="json"),
        fingerprint=data.fingerprint,
    )
    write_json(folder.record, record.model_dump())


def _write_reference(data: Dataset, learned: TrainedBackbone, device: Device) -> None:
    """Embeddings of all candidates of some test originals, float32, by the order of their names."""
    count = len(data.augmentations.names)
    held_out = np.flatnonzero((data.split == TEST) & (data.original_file >= 0))
    held_out = held_out[:REFERENCE_IMAGES]
    file = np.repeat(data.original_file[held_out], count).reshape(-1, count)
    applied = np.broadcast_to(np.arange(count), file.shape)
    keys, ctx = pair_keys(file, applied, count).ravel(), TrainContext(device=device)
    table = embed_all(
        learned.backbone, learned.loader(data, EVALUATION_BATCH, ctx), keys, count,
        ctx=ctx, exact=True,
    )  # fmt: skip
    rows = table.rows(file, applied)
    paths = [data.manifest.originals[number] for number in held_out]
    write_reference(data.folder.reference, paths, table.features[rows], table.logits[rows])
