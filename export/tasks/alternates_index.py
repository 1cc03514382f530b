"""The index of alternates: every image of the catalogue, embedded once, with its attributes."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from augrank.bundle.recommend_spec import AlternatesSpec
from augrank.contracts.run import RunRecord
from augrank.images.decode import decode, encode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from export.archive import EPOCH
from export.run_reader import CatalogueRow, Run

THUMBNAIL_PX, THUMBNAIL_QUALITY = 160, 80
# Beyond this many images, thumbnails would be larger than the model and are left out.
MAX_THUMBNAILS = 5_000
BATCH = 32


def write_alternates(run: Run[RunRecord], backbone: Backbone, bundle: Path) -> AlternatesSpec:
    """Embed the catalogue with the graph that will serve it, and write ``alternates/``.

    Args:
        run: the images of its catalogue must exist.
        backbone: the graph that the bundle uses by default.
        bundle: the bundle directory that is being written.
    """
    rows = run.catalogue
    spec = AlternatesSpec(
        count=len(rows),
        thumbnails="alternates/thumbnails.zip" if len(rows) <= MAX_THUMBNAILS else None,
    )
    (bundle / spec.features).parent.mkdir(parents=True)
    normalizer = Normalizer(run.record.mean, run.record.std)
    features, logits, thumbnails = [], [], []
    for start in range(0, len(rows), BATCH):
        files = [run.image_bytes(row) for row in rows[start : start + BATCH]]
        images = [decode(data, run.record.image_size).pixels for data in files]
        embedding = backbone.embed(normalizer.batch(images))
        features.append(embedding.features)
        logits.append(embedding.logits)
        if spec.thumbnails:
            thumbnails += [_thumbnail(data) for data in files]
    np.save(bundle / spec.features, np.concatenate(features), allow_pickle=False)
    np.save(bundle / spec.logits, np.concatenate(logits), allow_pickle=False)
    _write_attributes(rows, bundle / spec.attributes)
    if spec.thumbnails:
        _write_zip(thumbnails, bundle / spec.thumbnails)
    return spec


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
