"""``python -m training audit``: what to look at before labelled images are trained on.

OUT/audit.csv      a row for each issue: kind, path, label, given, proposed, confidence, detail
OUT/audit.png      the surest label errors as a contact sheet
OUT/cache/         decoded images, safe to delete
"""

import csv
from collections import Counter
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array
from augrank.files import atomic_write
from augrank.images.preprocess import Normalizer
from augrank.reporting import Reporter, Table
from training.audit.issues import Issue, duplicates, label_errors, left_out, small_files
from training.audit.sheet import draw_label_errors
from training.backbone.architectures import ARCHITECTURES
from training.backbone.embed import TorchEmbedder, embed_all
from training.backbone.loader import EVALUATION_BATCH, BatchLoader, ImageSet
from training.backbone.model import Backbone, InitialWeights
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig
from training.data.classify_dataset import (
    NO_AUGMENTATIONS,
    contradicting_files,
    joined_groups,
    read_manifest,
)
from training.data.dataset import decode_manifest, same_pictures
from training.data.image_cache.sources import DecodedImages
from training.data.manifest.label_manifest import LabelManifest
from training.run.folder import RunFolder

SHOWN_ERRORS = 15  # in the printed table
SHEET_ERRORS = 48


@dataclass(frozen=True)
class Audit:
    """The result of an audit."""

    images: int
    issues: list[Issue]
    counts: dict[str, dict[str, int]]  # images of each class, by label
    notes: list[str]


def audit(config: FitConfig, min_side: int, reporter: Reporter) -> Audit:
    """Look for duplicates, likely label errors, contradictions, small and broken files.

    Args:
        config: of the task ``classify``: data, network, weights and image size; ``out`` receives
            the results.
        min_side: shorter sides of fewer pixels are an issue.
        reporter: shows progress.

    Raises:
        DataError: the manifest, the labels or the weights cannot be read.
    """
    config = config.model_copy(update={"skip_bad_rows": True})
    ctx = TrainContext(reporter, device=Device.choose(config.device, config.precision))
    manifest = read_manifest(config)
    weights = InitialWeights.load(config.backbone, config.weights)
    folder = RunFolder(config.out)
    folder.root.mkdir(parents=True, exist_ok=True)
    images = decode_manifest(config, manifest, folder, ctx)
    contradicting = contradicting_files(manifest, images.sha256)
    issues = left_out(images.broken, manifest.files, "broken")
    issues += left_out(contradicting, manifest.files, "contradiction")
    manifest = manifest.without(contradicting | images.broken, skip=True)
    files = manifest.shown
    threads = config.threads or ctx.threads.count
    issues += small_files(files, manifest.files, manifest.images, min_side, threads)
    copy_of = same_pictures(images, files, threads)
    issues += duplicates(files, copy_of, manifest.files)
    group, _ = joined_groups(manifest, files, copy_of)
    features, notes = _features(config, weights, images, files, ctx), list[str]()
    errors: list[Issue] = []
    for label in manifest.labels:
        found = label_errors(label, files, manifest.files, features, group)
        errors += found
        if not found:
            notes.append(f"{label.name}: no likely errors, or too few groups of a class to tell")
    result = Audit(
        len(files),
        errors + issues,
        {label.name: label.counts for label in manifest.labels},
        notes + _rows_left_out(manifest),
    )
    _write(result, manifest.images, config.out)
    _report(result, config.out, reporter)
    return result


def _features(
    config: FitConfig,
    weights: InitialWeights,
    images: DecodedImages,
    files: NDArray[np.int64],
    ctx: TrainContext,
) -> Float32Array:
    """Embed files with a network as it starts, (N, F)."""
    architecture = ARCHITECTURES[config.backbone]
    backbone = Backbone(config.backbone, 2, config.seed)
    weights.apply(backbone)
    backbone.to(ctx.device.torch_device)
    normalizer = Normalizer(architecture.mean, architecture.std)
    loader = BatchLoader(
        ImageSet(images.pixels, NO_AUGMENTATIONS, normalizer),
        ctx,
        batch_size=EVALUATION_BATCH,
        threads=config.threads or ctx.threads.count,
    )
    embedder = TorchEmbedder(backbone, ctx.device)
    table = embed_all(embedder, backbone, loader, files, 1, ctx)
    return table.features


def _rows_left_out(manifest: LabelManifest) -> list[str]:
    if not manifest.left_out:
        return []
    return [f"{manifest.skipped:,} rows cannot be used; fit lists them, or stops at them"]


def _write(result: Audit, images: Path, out: Path) -> None:
    names = [field.name for field in fields(Issue)]
    with (
        atomic_write(out / "audit.csv") as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(astuple(issue) for issue in result.issues)
    errors = [issue for issue in result.issues if issue.kind == "label"][:SHEET_ERRORS]
    sheet = out / "audit.png"
    sheet.unlink(missing_ok=True)
    if errors:
        draw_label_errors(errors, images).save(sheet, "PNG")


def _report(result: Audit, out: Path, reporter: Reporter) -> None:
    kinds = Counter(issue.kind for issue in result.issues)
    found = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common()) or "none"
    reporter.say(f"{result.images:,} images. Issues: {found}", style="heading")
    for name, counts in result.counts.items():
        total = sum(counts.values())
        rows = [(each, f"{n:,}", f"{n / max(total, 1):.1%}") for each, n in counts.items()]
        reporter.table(Table(f"Classes of {name}", ("class", "images", "share"), rows))
    errors = [issue for issue in result.issues if issue.kind == "label"]
    if errors:
        rows_of_errors = [
            (issue.path, issue.label, issue.given, issue.proposed, f"{issue.confidence:.1%}")
            for issue in errors[:SHOWN_ERRORS]
        ]
        columns = ("image", "label", "given", "proposed", "probability")
        title = f"Likely label errors, the surest {len(rows_of_errors)} of {len(errors):,}"
        reporter.table(Table(title, columns, rows_of_errors, columns[:4]))
    for note in result.notes:
        reporter.say(f"Note: {note}", style="warning")
    reporter.say(f"See {out / 'audit.csv'}" + (f" and {out / 'audit.png'}" if errors else ""))
