"""The fixes that a retraining looks at, and what the filters have found of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from service.database.tables import CurrentFix, Fix, ReviewItem, StoredImage
from service.images.store import ImageStore
from service.retraining.filters import KEEP, proposal_of
from service.retraining.jobs import unsettled

Classes = Mapping[str, Sequence[str]]
CHUNK = 500  # digests in a query


def collect(session: Session, job_id: int, classes: Classes, images: ImageStore) -> tuple[int, int]:
    """Add an item for each fix that no dataset has settled.

    Return how many there are, and how many are left because their image's file is missing. Fixes
    of labels or classes that the model does not know are left for a model that does.

    Args:
        session: that writes.
        job_id: the retraining.
        classes: of each label of the live model.
        images: where corrected files are.
    """
    known = set(session.scalars(select(ReviewItem.fix_id).where(ReviewItem.job_id == job_id)))
    held = unsettled().subquery()
    query = select(Fix, held.c.value).join(held, held.c.fix_id == Fix.id).order_by(Fix.id)
    fixes = [
        (fix, value)
        for fix, value in session.execute(query)
        if fix.id not in known and value in classes.get(fix.label, ())
    ]
    there = {
        digest: images.keep(digest) or images.path(digest) is not None
        for digest in {fix.sha256 for fix, _ in fixes}
    }
    rows = [
        {
            "job_id": job_id,
            "fix_id": fix.id,
            "sha256": fix.sha256,
            "advertiser": fix.advertiser,
            "label": fix.label,
            "value": value,
            "reasons": [],
            "proposal": KEEP,
            "told": {},
            "who": "",
            "taken": False,
        }
        for fix, value in fixes
        if there[fix.sha256]
    ]
    if rows:
        session.execute(insert(ReviewItem), rows)
    return len(known) + len(rows), len(fixes) - len(rows)


def holding(session: Session) -> set[int]:
    """Return the ids of the fixes that hold."""
    return set(session.scalars(select(CurrentFix.fix_id)))


def pictures_of(session: Session, digests: Iterable[str]) -> dict[str, int]:
    """Return the id of the picture of each file that the service has seen, by sha256."""
    asked, found = sorted(set(digests)), dict[str, int]()
    for start in range(0, len(asked), CHUNK):
        among = StoredImage.sha256.in_(asked[start : start + CHUNK])
        rows = session.execute(select(StoredImage.sha256, StoredImage.picture_id).where(among))
        found |= {row.sha256: row.picture_id for row in rows}
    return found


def copies(session: Session) -> dict[str, int]:
    """Return the id of the picture, by sha256, of all files of pictures with several."""
    several = select(StoredImage.picture_id).group_by(StoredImage.picture_id)
    query = select(StoredImage.sha256, StoredImage.picture_id).where(
        StoredImage.picture_id.in_(several.having(func.count() > 1))
    )
    return {row.sha256: row.picture_id for row in session.execute(query)}


def check_items(session: Session, job_id: int, images: ImageStore) -> list[dict[str, Any]]:
    """Return the items for the step ``check``, with the file of each image."""
    query = select(ReviewItem).where(ReviewItem.job_id == job_id).order_by(ReviewItem.id)
    found = []
    for item in session.scalars(query):
        images.keep(item.sha256)  # in case the process ended between the fix and this
        file = images.path(item.sha256)
        found.append(
            {
                "id": item.id,
                "fix_id": item.fix_id,
                "sha256": item.sha256,
                "advertiser": item.advertiser,
                "label": item.label,
                "value": item.value,
                "file": str(file.absolute()) if file else None,
            }
        )
    return found


def write_checks(session: Session, checked: Sequence[Mapping[str, Any]]) -> int:
    """Write what the filters have found; return the number of items with an objection."""
    doubtful = 0
    for each in checked:
        item = session.get(ReviewItem, each["id"])
        assert item is not None
        item.reasons, item.told = list(each["reasons"]), dict(each["told"])
        item.proposal = proposal_of(each["reasons"])
        doubtful += bool(each["reasons"])
    return doubtful


def classes_of(bundle: Path) -> dict[str, tuple[str, ...]]:
    """Return the classes of each label of a bundle."""
    spec = load_bundle(bundle, ClassifySpec).spec
    return {head.label: tuple(head.classes) for head in spec.heads}
