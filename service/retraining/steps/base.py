"""Take over what the live model was trained on: a manifest, or a finished run.

A run is better: its own test images become the common test set. Of a manifest alone nobody knows
which images the live model has learned, so that a test of them favours it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augrank.bundle.load import sha256_of
from augrank.contracts.manifest import ORIGINAL_FILE, PATH, SPLIT
from augrank.contracts.run import RUN_FILE, parse_run
from augrank.errors import DataError, one_of
from augrank.files import read_json, write_json
from augrank.images.decode import DecodeLimits
from augrank.images.look import Look
from service.images.pictures import SeenImage
from service.retraining.data.dataset import (
    TEST,
    TRAIN,
    Row,
    file_name,
    in_test_share,
    write_rows,
)
from service.retraining.data.files import link_file
from service.retraining.data.looks import Looks, same_picture_as, seen_image

if TYPE_CHECKING:
    import pandas as pd

GROUPS = ("uploader", ORIGINAL_FILE)  # an advertiser's pictures are in all splits
REQUEST, RESULT = "base.request.json", "base.json"


@dataclass(frozen=True)
class BaseSource:
    """The rows of a base, and where its images are."""

    table: "pd.DataFrame"
    images: Path
    options: Mapping[str, Any]  # of the run; empty of a manifest


def run(folder: Path) -> None:
    """Write base/rows.jsonl, base/looks.npz and base.json from base.request.json.

    Args:
        folder: of the job.

    Raises:
        DataError: the base cannot be read, or lacks a label of the live model.
    """
    asked = read_json(folder / REQUEST)
    source = read_base(asked["base"], asked["images"], asked["labels"], asked["ranks"])
    rows, looks, left_out = _rows(source, asked, Path(asked["root"]) / "images")
    if not rows:
        raise DataError(
            f"{asked['base']} has no image that can be read",
            expected=f"image files in {source.images}",
            remedy="Give their folder with --images.",
        )
    out = folder / "base"
    Looks.of(looks).write(out / "looks.npz")
    write_rows(out / "rows.jsonl", rows)
    known = SPLIT in source.table
    write_json(
        folder / RESULT,
        {"rows": len(rows), "left_out": left_out, "known_split": known, "options": source.options},
    )


def read_base(
    base: str, images: str | None, labels: Sequence[str], ranks: Sequence[str]
) -> BaseSource:
    """Read the table of a base, and check that it has what the live model answers.

    Args:
        base: a run, or a manifest.
        images: folder of its images; None: where it says.
        labels: of the live model.
        ranks: of the live model.

    Raises:
        DataError: it cannot be read, or lacks one.
    """
    source = _source(Path(base), Path(images) if images else None)
    _check_labels(source, labels, ranks)
    return source


def _source(base: Path, images: Path | None) -> BaseSource:
    from augrank.manifest.read import read_table

    if not (base / RUN_FILE).is_file():
        table = read_table(base, {})
        return BaseSource(table.frame, images or (base if base.is_dir() else base.parent), {})
    record = parse_run(read_json(base / RUN_FILE), base / RUN_FILE)
    frame = read_table(base / record.catalogue, {}).frame
    scores = {f"{rank}_score": rank for rank in getattr(record, "ranks", ())}
    if both := set(scores.values()) & set(frame.columns):
        raise DataError(
            f"the run classifies {both.pop()!r} and ranks by it",
            expected="a label and a rank of different names, which retraining can tell apart",
            remedy="Give a manifest with a column for each as --base.",
        )
    frame = frame.rename(columns=scores)
    manifest = record.config.get("manifest")
    if manifest and Path(manifest).is_file():  # the catalogue does not say which belong together
        given = read_table(Path(manifest), record.config.get("columns") or {}).frame
        names = [name for name in GROUPS if name in given.columns and name not in frame.columns]
        given = given.drop_duplicates(PATH)[[PATH, *names]]
        frame = frame.merge(given, on=PATH, how="left").fillna("")
    options = record.config | {"weights_file": str((base / record.weights_file).resolve())}
    return BaseSource(frame, images or record.images, options)


def _check_labels(source: BaseSource, labels: Sequence[str], ranks: Sequence[str]) -> None:
    columns = [str(name) for name in source.table.columns]
    for name in (*labels, *ranks):
        if name not in columns:
            raise DataError(
                f"the base has no column {name!r}, which the live model answers",
                expected=one_of(columns, name),
                remedy="Give the run that the live model comes from as --base.",
            )


def _rows(
    source: BaseSource, asked: Mapping[str, Any], files: Path
) -> tuple[list[Row], list[Look], int]:
    """Read the rows, one for each file; the second of two files of the same bytes is left out."""
    limits, found, left_out = DecodeLimits(), dict[str, tuple[Row, Look]](), 0
    groups = [name for name in GROUPS if name in source.table.columns]
    for cells in source.table.astype(str).to_dict("records"):
        file = source.images / cells[PATH]
        digest = sha256_of(file) if file.is_file() else ""
        image = seen_image(digest, file, limits) if digest else None
        if not isinstance(image, SeenImage) or digest in found:
            left_out += 1
            continue
        link_file(file, files / file_name(digest))
        row = Row(
            sha256=digest,
            picture=digest,
            set=str(cells.get(SPLIT, "")),
            labels={name: cells[name] for name in asked["labels"] if cells[name]},
            groups={name: cells[name] for name in groups if cells[name]},
            scores={name: cells[name] for name in asked["ranks"] if cells[name]},
        )
        found[digest] = row, image.look
    rows, looks = [row for row, _ in found.values()], [look for _, look in found.values()]
    rows = _split(rows, looks, asked["pictures"])
    order = sorted(range(len(rows)), key=lambda place: rows[place].picture)
    return [rows[place] for place in order], [looks[place] for place in order], left_out


def _split(rows: Sequence[Row], looks: Sequence[Look], pictures: Mapping[str, int]) -> list[Row]:
    """Assign rows to training and the common test set; what belongs together stays together."""
    first = same_picture_as([row.picture for row in rows], looks, pictures)
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            name = above
        return name

    def join(one: str, other: str) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    for row, same in zip(rows, first, strict=True):
        join(row.picture, rows[same].picture)
        for name, value in row.groups.items():
            join(row.picture, f"{name}:{value}")
    tested = {root(row.picture) for row in rows if row.set == TEST}
    known = any(row.set for row in rows)
    return [
        replace(
            row,
            set=TEST
            if (root(row.picture) in tested if known else in_test_share(root(row.picture)))
            else TRAIN,
        )
        for row in rows
    ]
