"""What was last found at the URLs of batches: pointers to images, bounded, longest unseen out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select, tuple_, update
from sqlalchemy.orm import Session

from augrank.download.fetch import Validators
from service.database.session import insert_missing, lock_for_adding
from service.database.tables import Fix, Source
from service.shares import over_share

NOTED_EVERY = timedelta(days=1)  # that a URL was seen unchanged is noted
WRITING = 7_202_519  # number of the lock of those who write URLs: rows need no order then
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


def note_seen(
    session: Session, advertiser: str, found: Sequence[Found], unchanged: Sequence[Source]
) -> None:
    """Write what was found at URLs now, and which show what they did.

    Args:
        session: that writes.
        advertiser: whose URLs they are.
        found: what was downloaded.
        unchanged: known ones; that is noted once a day. One that was forgotten meanwhile stays so.
    """
    now = datetime.now(UTC)
    rows = [
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
    stale = [each.url_digest for each in unchanged if each.checked_at < now - NOTED_EVERY]
    if not rows and not stale:
        return
    lock_for_adding(session, WRITING)
    if rows:
        insert_missing(session, Source, rows)
        session.execute(update(Source), rows)
    if stale:
        again = update(Source).where(Source.advertiser == advertiser, Source.url_digest.in_(stale))
        session.execute(again.values(checked_at=now))


def trim_sources(session: Session, most: int) -> int:
    """Forget URLs if there are too many; return how many.

    Of the advertisers with the most the ones that were not seen for longest go, but none whose
    image was corrected: files of fixes name it, so these may be more than ``most``. An image stays
    known, and so does its answer.
    """
    count = session.scalar(select(func.count()).select_from(Source)) or 0
    if count <= most:
        return 0
    lock_for_adding(session, WRITING)
    corrected = select(Fix.advertiser, Fix.sha256)
    removable = tuple_(Source.advertiser, Source.sha256).not_in(corrected)
    counted = select(Source.advertiser, func.count()).where(removable).group_by(Source.advertiser)
    held = dict(session.execute(counted).all())
    room = max(0, round(most * (1 - SPARE)) - (count - sum(held.values())))
    removed = 0
    for advertiser, own in over_share(held, room).items():
        oldest = select(Source.url_digest).where(Source.advertiser == advertiser, removable)
        oldest = oldest.order_by(Source.checked_at, Source.url_digest).limit(own)
        digests = list(session.scalars(oldest))
        for start in range(0, len(digests), CHUNK):
            among = Source.url_digest.in_(digests[start : start + CHUNK])
            session.execute(delete(Source).where(Source.advertiser == advertiser, among))
        removed += len(digests)
    return removed


def digest_of(url: str) -> str:
    """Return the key of a URL."""
    return hashlib.sha256(url.encode()).hexdigest()
