"""URLs are remembered, bounded: who holds most gives first, and what was corrected stays."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, select, update

from augrank.download.fetch import Validators
from service.answers.classify import ClassifyRequest, ClassifyService
from service.backends.classify import ClassifyOptions
from service.batches import work as batches
from service.database.session import Database
from service.database.tables import Source
from service.fixes.history import Correction, correct
from service.images.sources import (
    NOTED_EVERY,
    Found,
    digest_of,
    known_sources,
    note_seen,
    trim_sources,
)
from tests.service.jobs.support import finished, serve
from tests.service.support.fixed_model import FixedModel
from tests.service.support.pages import Caller, photo, sha256
from tests.training.download.site import Site

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
PHOTOS = [photo(number) for number in range(2)]


@pytest.fixture
def seen(database: Database) -> Database:
    """A database that knows two images of two advertisers."""
    service = ClassifyService(database, FixedModel(0))
    for advertiser in ("ada", "bob"):
        service(ClassifyRequest(advertiser, tuple(PHOTOS), ClassifyOptions(), {}))
    return database


def remember(database: Database, advertiser: str, urls: list[str], image: bytes = PHOTOS[0]):
    found = [Found(url, sha256(image), Validators('"1"', "")) for url in urls]
    with database.writes() as session:
        note_seen(session, advertiser, found, [])


def seen_at(database: Database, advertiser: str, url: str, at: datetime) -> None:
    with database.writes() as session:
        session.execute(
            update(Source),
            [{"advertiser": advertiser, "url_digest": digest_of(url), "checked_at": at}],
        )


def remembered(database: Database) -> set[tuple[str, str]]:
    with database.reads() as session:
        return {(row.advertiser, row.url) for row in session.scalars(select(Source))}


def trim(database: Database, most: int) -> int:
    with database.writes() as session:
        return trim_sources(session, most)


def test_what_was_not_seen_for_longest_is_forgotten(seen: Database):
    urls = [f"http://ada/{n}" for n in range(20)]
    remember(seen, "ada", urls)
    for age, url in enumerate(urls):
        seen_at(seen, "ada", url, LONG_AGO + timedelta(days=age))
    remember(seen, "bob", ["http://bob/0"])
    assert trim(seen, 21) == 0
    assert trim(seen, 20) == 2  # a little more than it must, so that it comes seldom
    assert remembered(seen) == {("ada", url) for url in urls[2:]} | {("bob", "http://bob/0")}
    remember(seen, "ada", urls[2:3])  # found again
    assert trim(seen, 10) == 9
    assert ("ada", urls[2]) in remembered(seen)
    assert ("bob", "http://bob/0") in remembered(seen)


def test_a_url_whose_image_was_corrected_stays(seen: Database):
    remember(seen, "ada", ["http://ada/old"], PHOTOS[1])
    seen_at(seen, "ada", "http://ada/old", LONG_AGO)
    remember(seen, "ada", [f"http://ada/{n}" for n in range(3)])
    with seen.writes() as session:
        correct(session, Correction("ada", sha256(PHOTOS[1]), "colour", "red", None, "ana"))
    trim(seen, 1)
    assert remembered(seen) == {("ada", "http://ada/old")}


def test_seeing_a_url_unchanged_is_noted_once_a_day(seen: Database):
    remember(seen, "ada", ["http://ada/0", "http://ada/1"])
    before = datetime.now(UTC) - NOTED_EVERY / 2
    seen_at(seen, "ada", "http://ada/0", before)
    seen_at(seen, "ada", "http://ada/1", LONG_AGO)
    remember(seen, "ada", ["http://ada/2"])
    with seen.reads() as session:
        rows = known_sources(session, "ada", [f"http://ada/{n}" for n in range(4)])
    assert len(rows) == 3
    rows[2].checked_at = LONG_AGO
    with seen.writes() as session:  # another process forgets it meanwhile
        session.execute(delete(Source).where(Source.url == "http://ada/2"))
    with seen.writes() as session:
        note_seen(session, "ada", [], rows)
    with seen.reads() as session:
        at = {row.url: row.checked_at for row in session.scalars(select(Source))}
    assert at["http://ada/0"] == before
    assert at["http://ada/1"] > before
    assert len(at) == 2


def test_batches_forget_urls_and_are_answered_again(caller: Caller, site: Site, monkeypatch):
    monkeypatch.setattr(batches, "TRIM_EVERY", 1)
    worker = caller.http.app.state.parts.workers["batch"]
    assert worker._work._max_urls == 1_000_000
    worker._work._max_urls = 2
    urls = [serve(site, f"/{n}.png", photo(n)) for n in range(4)]
    assert finished(caller, urls)["answered"] == 4
    assert len(remembered(caller.http.app.state.parts.database)) == 2
    assert finished(caller, urls)["answered"] == 4
    assert sum(site.count(f"/{n}.png") for n in range(4)) == 8


def test_a_batch_notes_that_a_url_is_unchanged(caller: Caller, site: Site):
    database = caller.http.app.state.parts.database
    url = serve(site, "/0.png", photo(0))
    finished(caller, [url])
    seen_at(database, "ada", url, LONG_AGO)
    finished(caller, [url])
    with database.reads() as session:
        (row,) = session.scalars(select(Source))
    assert row.checked_at > LONG_AGO
    assert site.count("/0.png") == 2  # asked, and not sent again
