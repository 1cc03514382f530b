"""A scoring job: the items of a folder or manifest, and the options for all of them."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.contracts.manifest import (
    AUGMENTATION,
    IMAGE_SUFFIXES,
    ORIGINAL_FILE,
    PATH,
    PRODUCT_TYPE,
)
from augrank.errors import BadRequest
from augrank.images.augmentations import ORIGINAL
from augrank.models.engines import Device


@dataclass(frozen=True)
class Item:
    """An image and the context to score it under."""

    number: int
    path: str  # relative to the images folder
    context: Mapping[str, Any]
    augmentation: str = ORIGINAL  # already applied to the file


@dataclass(frozen=True)
class ScoringJob:
    """The bundle and the options that every item is scored with."""

    bundle: Path
    images: Path
    targets: tuple[str, ...]
    candidates: tuple[str, ...] | None = None
    alternates: int = 0
    min_lift: float = 0.0
    device: Device = "auto"


def items_of_folder(folder: Path, context: Mapping[str, Any]) -> list[Item]:
    """Return every image file below a folder, sorted by name, all with one context.

    Raises:
        BadRequest: there are no images.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not files:
        raise BadRequest(
            "there are no images", expected=f"files {', '.join(IMAGE_SUFFIXES)}", got=str(folder)
        )
    return [Item(number, path, context) for number, path in enumerate(files)]


def items_of_manifest(file: Path, spec: RecommendSpec, context: Mapping[str, Any]) -> list[Item]:
    """Return the rows of a CSV or Parquet manifest; its context columns override ``context``.

    Raises:
        BadRequest: it cannot be read, or has no column of images.
    """
    rows = _rows(file)
    if not rows or PATH not in rows[0]:
        raise BadRequest(
            "the manifest does not fit",
            expected=f"rows with a column {PATH}",
            got=", ".join(map(str, rows[0])) if rows else "no rows",
        )
    names = [*(column.name for column in spec.context), PRODUCT_TYPE]
    items = []
    for number, row in enumerate(rows):
        columns = {name: row[name] for name in names if row.get(name) not in (None, "")}
        augmentation = _already_applied(row)
        items.append(Item(number, str(row[PATH]), {**context, **columns}, augmentation))
    return items


def _already_applied(row: Mapping[str, Any]) -> str:
    """Return the augmentation that a row's file was made with.

    In a row that names no other file as its original, the file is the original, whatever was
    applied to it when it was shown.
    """
    path, original = str(row[PATH]), str(row.get(ORIGINAL_FILE) or "")
    return str(row.get(AUGMENTATION) or ORIGINAL) if original not in ("", path) else ORIGINAL


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        if file.suffix == ".parquet":
            rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
            return rows
        with file.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise BadRequest(f"{file} cannot be read: {error}") from error


def fingerprint(job: ScoringJob, items: Sequence[Item], shard: int) -> str:
    """Return a sha256 of everything that determines the rows, and of the shard size."""
    digest = hashlib.sha256(f"{shard} {load_bundle(job.bundle).digest}".encode())
    options = {**asdict(job), "bundle": "", "images": str(job.images.resolve()), "device": ""}
    digest.update(json.dumps(options, sort_keys=True).encode())
    for item in items:
        digest.update(json.dumps(asdict(item), sort_keys=True, default=str).encode())
    return digest.hexdigest()
