"""The index of alternates: every image of the catalogue, embedded once, with its attributes."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from augrank.bundle.recommend_spec import AlternatesSpec, EmbeddingFiles
from augrank.contracts.run import Precision, RunRecord
from augrank.images.decode import decode, encode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone, Embedding
from export.archive import EPOCH
from export.run_reader import CatalogueRow, Run

THUMBNAIL_PX, THUMBNAIL_QUALITY = 160, 80
# Beyond this many images, thumbnails would be larger than the model and are left out.
MAX_THUMBNAILS = 5_000
BATCH = 32


def write_alternates(
    run: Run[RunRecord], backbones: Mapping[Precision, Backbone], bundle: Path
) -> tuple[AlternatesSpec, dict[Precision, EmbeddingFiles]]:
    """Embed the catalogue with each graph that may serve it, and write ``alternates/``.

    Args:
        run: the images of its catalogue must exist.
        backbones: the graphs.
        bundle: the bundle directory that is being written.

    Returns:
        What the graphs share, and the embeddings of each.
    """
    rows = run.catalogue
    spec = AlternatesSpec(
        count=len(rows),
        thumbnails="alternates/thumbnails.zip" if len(rows) <= MAX_THUMBNAILS else None,
    )
    (bundle / spec.attributes).parent.mkdir(parents=True)
    normalizer = Normalizer(run.record.mean, run.record.std)
    embedded: dict[Precision, list[Embedding]] = {precision: [] for precision in backbones}
    thumbnails: list[bytes] = []
    for start in range(0, len(rows), BATCH):
        files = [run.image_bytes(row) for row in rows[start : start + BATCH]]
        images = [decode(data, run.record.image_size).pixels for data in files]
        batch = normalizer.batch(images)
        for precision, backbone in backbones.items():
            embedded[precision].append(backbone.embed(batch))
        if spec.thumbnails:
            thumbnails += [_thumbnail(data) for data in files]
    saved_files = dict[Precision, EmbeddingFiles]()
    for precision, parts in embedded.items():
        saved_files[precision] = saved = EmbeddingFiles(
            features=f"alternates/features-{precision}.npy",
            logits=f"alternates/logits-{precision}.npy",
        )
        features, logits = [part.features for part in parts], [part.logits for part in parts]
        np.save(bundle / saved.features, np.concatenate(features), allow_pickle=False)
        np.save(bundle / saved.logits, np.concatenate(logits), allow_pickle=False)
    _write_attributes(rows, bundle / spec.attributes)
    if spec.thumbnails:
        _write_zip(thumbnails, bundle / spec.thumbnails)
    return spec, saved_files


def _thumbnail(data: bytes) -> bytes:
    """Shrink an image file to a small JPEG."""
    return encode(decode(data, THUMBNAIL_PX).pixels, quality=THUMBNAIL_QUALITY)


def _write_attributes(rows: Sequence[CatalogueRow], file: Path) -> None:
    content = [
        {"path": row.path, "sha256": row.sha256, "attributes": row.attributes} for row in rows
    ]
    file.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _write_zip(thumbnails: Sequence[bytes], file: Path) -> None:
    """Write thumbnails, named by row number, with fixed times."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for row, data in enumerate(thumbnails):
            archive.writestr(zipfile.ZipInfo(f"{row}.jpg", EPOCH), data)
    file.write_bytes(buffer.getvalue())
