"""A page of the queue takes as long whatever was done before: SQLite's instructions are counted."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from service.database.entries import enter_answers, settle
from service.database.session import Database
from service.database.tables import (
    AnswerLabel,
    CurrentFix,
    Fix,
    Picture,
    Review,
    Sighting,
    StoredAnswer,
    StoredImage,
)
from service.fixes.queue import QueueFilter, queue_page

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
NOW = datetime.now(UTC)
CONTENT = {"labels": {"colour": {"value": "blue", "probability": 0.5, "top": [], "set": ["blue"]}}}


def planted(database: Database, first: int, count: int, probability: float) -> range:
    """Add pictures of ada with answers, the least sure first; return their ids."""
    ids = range(first, first + count)
    with database.writes() as session:
        for table, rows in (
            (Picture, [{"id": n, "look_hash": "0" * 16, "thumbnail": b""} for n in ids]),
            (StoredImage, [{"sha256": f"{n:064x}", "picture_id": n, "width": 9, "height": 9,
                            "format": "PNG", "seen_at": NOW} for n in ids]),
            (Sighting, [{"advertiser": "ada", "sha256": f"{n:064x}"} for n in ids]),
            (StoredAnswer, [{"id": n, "picture_id": n, "model": "a" * 64, "options": "{}",
                             "content": CONTENT, "used_at": NOW} for n in ids]),
            (AnswerLabel, [{"answer_id": n, "label": "colour", "picture_id": n,
                            "sha256": f"{n:064x}", "value": "blue", "set_size": 1,
                            "probability": probability + 1e-6 * n} for n in ids]),
        ):  # fmt: skip
            session.execute(insert(table), rows)
        enter_answers(session, ids, ids)
    return ids


def steps(database: Database, **given) -> int:
    """Return how many instructions, in hundreds, SQLite needs for a page and the progress."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    with database.reads() as session:
        driver = session.connection().connection.driver_connection
        driver.set_progress_handler(step, 100)
        asked = QueueFilter("colour", **{"advertiser": "ada", "live": "a" * 64, **given})
        assert len(queue_page(session, asked, None, 24)) == 24
        driver.set_progress_handler(None, 100)
    return count


def test_a_page_takes_as_long_whatever_people_have_done(database: Database):
    queues = ({}, {"advertiser": None}, {"live": None}, {"state": "all"})
    planted(database, 10_000, 100, 0.5)
    before = [steps(database, **given) for given in queues]
    ids = planted(database, 1, 3000, 0.1)  # all less sure
    with database.writes() as session:
        reviews = [
            {"advertiser": "ada", "picture_id": n, "sha256": f"{n:064x}", "label": "colour",
             "value": "blue", "who": "ana", "at": NOW} for n in ids[:1500]
        ]  # fmt: skip
        session.execute(insert(Review), reviews)
        fixes = [
            {"id": n, "advertiser": "ada", "picture_id": n, "sha256": f"{n:064x}",
             "label": "colour", "before": None, "after": "red", "who": "ana", "why": "",
             "at": NOW, "undoes": None} for n in ids[1500:]
        ]  # fmt: skip
        session.execute(insert(Fix), fixes)
        held = [
            {"advertiser": "ada", "picture_id": n, "label": "colour", "fix_id": n, "value": "red"}
            for n in ids[1500:]
        ]
        session.execute(insert(CurrentFix), held)
        settle(session, ids)
    after = [steps(database, **given) for given in queues]
    assert all(now <= 3 * then for now, then in zip(after, before, strict=True)), (before, after)


def test_a_page_takes_as_long_whatever_earlier_models_have_said(database: Database):
    planted(database, 10_000, 100, 0.5)
    before = steps(database)
    ids = planted(database, 1, 3000, 0.1)
    with database.writes() as session:
        later = [{"id": 20_000 + n, "picture_id": n, "model": "b" * 64, "options": "{}",
                  "content": CONTENT, "used_at": NOW} for n in ids]  # fmt: skip
        session.execute(insert(StoredAnswer), later)
        told = [{"answer_id": 20_000 + n, "label": "colour", "picture_id": n,
                 "sha256": f"{n:064x}", "value": "red", "set_size": 1, "probability": 0.9}
                for n in ids]  # fmt: skip
        session.execute(insert(AnswerLabel), told)
        enter_answers(session, [20_000 + n for n in ids], ids)
    assert steps(database, live="b" * 64) <= 3 * before
