"""Write outcomes as a folder that ``python -m training fit`` reads."""

import csv
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from augrank.contracts.manifest import PATH
from augrank.files import atomic_write
from service.database.session import Database
from service.images.store import ImageStore
from service.outcomes.manifest import Contents, contents_of, rows_of

MANIFEST, AUGMENTATIONS = "manifest.csv", "augmentations.yaml"
LINES_AT_ONCE = 500


@dataclass(frozen=True)
class Exported:
    """What a folder holds.

    Attributes:
        rows: of the manifest.
        images: files.
        missing: images that are not kept any more; their rows are left out.
    """

    rows: int
    images: int
    missing: tuple[str, ...]


def manifest_lines(database: Database, advertiser: str | None) -> Iterator[str]:
    """Yield a manifest as CSV, in pieces.

    Args:
        database: with the outcomes.
        advertiser: whose they are; None: of all.
    """
    with database.reads() as session:
        contents = contents_of(session, advertiser)
        text = io.StringIO()
        writer = csv.DictWriter(text, contents.header, extrasaction="ignore")
        writer.writeheader()
        for number, row in enumerate(rows_of(session, advertiser, contents), 1):
            writer.writerow(row)
            if number % LINES_AT_ONCE == 0:
                yield _taken(text)
        yield _taken(text)


def export_outcomes(
    database: Database, images: ImageStore, out: Path, advertiser: str | None
) -> Exported:
    """Write manifest.csv, augmentations.yaml and the image files into a folder.

    Args:
        database: with the outcomes.
        images: the files.
        out: the folder; what is there of an earlier export is written again.
        advertiser: whose outcomes; None: of all.
    """
    rows, missing = 0, []
    with database.reads() as session:
        contents = contents_of(session, advertiser)
        for sha256, name in sorted(contents.images.items()):
            if not _put(images, sha256, out / name):
                missing.append(sha256)
        without = {contents.images[sha256] for sha256 in missing}
        with (
            atomic_write(out / MANIFEST) as partial,
            partial.open("w", encoding="utf-8", newline="") as stream,
        ):
            writer = csv.DictWriter(stream, contents.header, extrasaction="ignore")
            writer.writeheader()
            for row in rows_of(session, advertiser, contents):
                if row[PATH] not in without:
                    writer.writerow(row)
                    rows += 1
    _write_augmentations(contents, out)
    return Exported(rows, len(contents.images) - len(missing), tuple(missing))


def _put(images: ImageStore, sha256: str, target: Path) -> bool:
    """Link or copy a file; return whether it is kept."""
    source = images.path(sha256)
    if source is None:
        return False
    if target.exists():
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        with atomic_write(target, fsync=False) as partial:
            shutil.copyfile(source, partial)
    return True


def _write_augmentations(contents: Contents, out: Path) -> None:
    with atomic_write(out / AUGMENTATIONS) as partial:
        text = yaml.safe_dump(contents.augmentation_set(), sort_keys=False)
        partial.write_text(text, encoding="utf-8")


def _taken(text: io.StringIO) -> str:
    """Return what was written so far, and start again."""
    written = text.getvalue()
    text.seek(0)
    text.truncate()
    return written
