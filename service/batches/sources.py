"""What was last found at the URLs of batches: pointers to images, bounded, longest unseen out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import Session

from augrank.download.fetch import Validators
from service.database.session import insert_missing
from service.database.tables import Fix, Source
from service.shares import over_share

NOTED_EVERY = timedelta(days=1)  # that a URL was seen unchanged is noted
CHUNK = 500  # rows in a statement
SPARE = 0.05  # share of the URLs that are removed at once when there are too many


@dataclass(frozen=True)
class Found:
    """What a URL shows.

    Attributes:
        url: as it was sent.
        sha256: of the image.
        validators: for the next time.
    """

    url: str
    sha256: str
    validators: Validators


def known_sources(session: Session, advertiser: str, urls: Sequence[str]) -> list[Source]:
    """Return what was found before at those of an advertiser's URLs that are known."""
    digests = [digest_of(url) for url in urls]
    query = select(Source).where(Source.advertiser == advertiser, Source.url_digest.in_(digests))
    return list(session.scalars(query))


def note_found(session: Session, advertiser: str, found: Sequence[Found]) -> None:
    """Write what was found at URLs now."""
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {
            "advertiser": advertiser,
            "url_digest": digest_of(each.url),
            "url": each.url,
            "sha256": each.sha256,
            "etag": each.validators.etag,
            "last_modified": each.validators.last_modified,
            "checked_at": now,
        }
        for each in found
    ]
    if rows:
        rows.sort(key=lambda row: row["url_digest"])  # in one order: no deadlock
        insert_missing(session, Source, rows)
        session.execute(update(Source), rows)


def note_unchanged(session: Session, sources: Sequence[Source]) -> None:
    """Note that URLs show what they did, unless that was noted lately."""
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = [
        {"advertiser": each.advertiser, "url_digest": each.url_digest, "checked_at": now}
        for each in sources
        if each.checked_at < now - NOTED_EVERY
    ]
    if rows:
        session.execute(update(Source), sorted(rows, key=lambda row: row["url_digest"]))


def trim_sources(session: Session, most: int) -> int:
    """Forget URLs if there are too many; return how many.

    Of the advertisers with the most the ones that were not seen for longest go, but none whose
    image was corrected: files of fixes name it. An image stays known, and so does its answer.
    """
    count = session.scalar(select(func.count()).select_from(Source)) or 0
    if count <= most:
        return 0
    held = session.execute(select(Source.advertiser, func.count()).group_by(Source.advertiser))
    corrected = exists().where(Fix.advertiser == Source.advertiser, Fix.sha256 == Source.sha256)
    removed = 0
    for advertiser, own in over_share(dict(held.all()), round(most * (1 - SPARE))).items():
        oldest = select(Source.url_digest).where(Source.advertiser == advertiser, ~corrected)
        oldest = oldest.order_by(Source.checked_at, Source.url_digest).limit(own)
        digests = sorted(session.scalars(oldest))
        for start in range(0, len(digests), CHUNK):
            among = Source.url_digest.in_(digests[start : start + CHUNK])
            session.execute(delete(Source).where(Source.advertiser == advertiser, among))
        removed += len(digests)
    return removed


def digest_of(url: str) -> str:
    """Return the key of a URL."""
    return hashlib.sha256(url.encode()).hexdigest()
