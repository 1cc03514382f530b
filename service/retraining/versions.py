"""Make the next version of the dataset from the last one and what the review has let through."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from augrank.errors import DataError
from augrank.files import atomic_write, read_json
from augrank.images.look import Look
from service.database.tables import Dataset, ReviewItem
from service.images.store import ImageStore
from service.retraining.collect import holding
from service.retraining.data.dataset import (
    Accepted,
    Extended,
    Row,
    counts_of,
    digest_of,
    extended,
    file_name,
    read_rows,
    write_manifest,
    write_rows,
)
from service.retraining.data.files import Root, link_file
from service.retraining.data.looks import Looks
from service.retraining.filters import DROP, DUPLICATE
from service.retraining.jobs import last_dataset
from service.retraining.review import CROP, RELABEL
from service.retraining.steps import check

ROWS, LOOKS, TRAIN_FILE = "rows.jsonl", "looks.npz", "train.csv"


@dataclass(frozen=True)
class Version:
    """A version of the dataset that lies in its folder, before its row is written."""

    digest: str
    folder: Path
    parent_id: int | None
    last_fix_id: int
    change: Extended
    missing: tuple[int, ...]  # ids of items whose file is not there: they are not settled
    leaked: int  # pictures that are not trained on any more: a test picture shows the same


def version_folder(root: Root, last: Dataset | None, job: Path) -> Path | None:
    """Return the folder of the rows to extend: of the last version, or of the base.

    Args:
        root: of retraining.
        last: version of the dataset.
        job: folder of the job.
    """
    if last is not None:
        return root.dataset(last.digest)
    return job / "base" if (job / "base" / ROWS).exists() else None


def next_version(
    session: Session, job_id: int, root: Root, job: Path, images: ImageStore
) -> Version:
    """Write the files of the next version.

    Args:
        session: that reads.
        job_id: whose items are let in.
        root: of retraining.
        job: folder of the job, with the results of its filters.
        images: where the corrected files are.

    Raises:
        DataError: nothing is left to train on.
    """
    last = last_dataset(session)
    before = version_folder(root, last, job)
    rows = read_rows(before / ROWS) if before else []
    checked = read_json(job / check.RESULT)
    looks = _looks_by_picture(before, rows) | check.read_looks(job / check.LOOKS)
    items = list(
        session.scalars(
            select(ReviewItem).where(ReviewItem.job_id == job_id).order_by(ReviewItem.fix_id)
        )
    )
    missing = {item.id for item in items if images.path(item.sha256) is None}
    missing |= {each["id"] for each in read_json(job / check.REQUEST)["items"] if not each["file"]}
    shows = {
        each["id"]: each["shows"] for each in checked["items"]
        if each["id"] not in missing and each["shows"] in looks
    }  # fmt: skip
    accepted = [
        _accepted(item, shows[item.id], root, images)
        for item in items
        if item.id in shows and (item.decision not in (None, DROP) or _only_says_the_same(item))
    ]
    leaked = set(checked.get("leaked", ())) & {row.picture for row in rows}
    rows = [row for row in rows if row.picture not in leaked]
    change = extended(rows, holding(session), accepted)
    if not any(row.labels for row in change.rows):
        raise DataError(
            "there is nothing to train on",
            expected="fixes that are kept, or --base with what the live model was trained on",
            got="no labelled picture",
        )
    for row in change.rows:
        _bring(row.sha256, root, images)
    digest = digest_of(change.rows)
    folder = root.dataset(digest)
    Looks.of([looks[row.picture] for row in change.rows]).write(folder / LOOKS)
    write_manifest(folder / TRAIN_FILE, change.rows)
    write_rows(folder / ROWS, change.rows)
    newest = max((item.fix_id for item in items), default=last.last_fix_id if last else 0)
    parent = last.id if last else None
    return Version(digest, folder, parent, newest, change, tuple(sorted(missing)), len(leaked))


def add_version(session: Session, job_id: int, version: Version, folder: Path) -> Dataset:
    """Write the row of a version, and that it has settled the items of a job.

    Args:
        session: that writes.
        job_id: of the items.
        version: whose files are there.
        folder: of the service.
    """
    session.execute(update(ReviewItem).where(ReviewItem.job_id == job_id).values(taken=True))
    for item_id in version.missing:  # the next retraining looks for the file again
        session.execute(update(ReviewItem).where(ReviewItem.id == item_id).values(taken=False))
    found = session.scalar(select(Dataset).where(Dataset.digest == version.digest))
    if found is not None:  # nothing has changed, or the process was killed after this
        return found
    row = Dataset(
        digest=version.digest,
        parent_id=version.parent_id,
        folder=version.folder.relative_to(folder.absolute()).as_posix(),
        created_at=datetime.now(UTC),
        counts=counts_of(version.change.rows),
        last_fix_id=version.last_fix_id,
    )
    session.add(row)
    session.flush()
    return row


def _looks_by_picture(folder: Path | None, rows: Sequence[Row]) -> dict[str, Look]:
    if folder is None:
        return {}
    looks = Looks.read(folder / LOOKS).each()
    return {row.picture: look for row, look in zip(rows, looks, strict=True)}


def _only_says_the_same(item: ReviewItem) -> bool:
    """Return whether an item was dropped, and only for being a duplicate."""
    kinds = {reason["kind"] for reason in item.reasons}
    return item.decision == DROP and kinds == {DUPLICATE}


def _accepted(item: ReviewItem, shows: str, root: Root, images: ImageStore) -> Accepted:
    file = item.sha256
    if item.decision == CROP and item.crop:
        file = _crop(item.sha256, item.crop, root, images)
    return Accepted(
        fix_id=item.fix_id,
        picture=item.sha256,
        shows=shows,
        file=file,
        advertiser=item.advertiser,
        label=item.label,
        value=item.relabelled if item.decision == RELABEL and item.relabelled else item.value,
        second=item.decision == DROP,
    )


def _bring(sha256: str, root: Root, images: ImageStore) -> None:
    """Put a file among those of the dataset, if it is not there."""
    target = root.images / file_name(sha256)
    source = images.path(sha256)
    if not target.exists() and source is not None:
        link_file(source, target)


def _crop(sha256: str, box: Sequence[float], root: Root, images: ImageStore) -> str:
    """Write what a crop leaves of an image as PNG; return its sha256."""
    with Image.open(BytesIO(images.read(sha256) or b"")) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    width, height = upright.size
    left, top, right, bottom = box
    edges = (int(left * width), int(top * height), -int(-right * width), -int(-bottom * height))
    stream = BytesIO()
    upright.crop(edges).save(stream, "PNG")
    data = stream.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    target = root.images / file_name(digest)
    if not target.exists():
        with atomic_write(target) as temporary:
            temporary.write_bytes(data)
    return digest
