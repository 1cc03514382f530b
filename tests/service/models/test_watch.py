"""The watch: fixes of the live model beside the one before, and an alarm that may be looked at."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from service.backends.live import Live
from service.database.session import Database, insert_missing
from service.database.tables import (
    AnswerLabel,
    CurrentFix,
    Exposure,
    Fix,
    Model,
    Picture,
    Promotion,
    Review,
    StoredAnswer,
)
from service.models import exposures as exposures_module
from service.models import watch
from service.models.exposures import Exposures
from service.models.loading import LocalDeployment
from service.models.registry import ROLLBACK, Change, Registry, make_live
from service.models.sequential import Counts, evidence
from service.models.service import Models
from service.models.watch import Watch, report_of
from tests.service.models.support import Fake, Loads

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SINCE = NOW - timedelta(days=3)
OLD, NEW = "a" * 64, "b" * 64


def test_looking_every_hour_raises_no_false_alarm():
    rng, alarms, runs = np.random.default_rng(0), 0, 150
    rates = {"ada": 0.03, "bob": 0.10, "cyd": 0.01}
    for _ in range(runs):
        before = {n: Counts(int(rng.binomial(1500, r)), 1500) for n, r in rates.items()}
        alarms += _alarmed(rng, before, rates, looks=60, pictures=30)
    assert alarms / runs <= 0.05
    # An interval that is looked at as often is wrong far more often: the test could fail.
    from scipy import stats

    naive = 0
    for _ in range(100):
        hits = np.cumsum(rng.binomial(20, 0.05, 100))
        seen = 20 * np.arange(1, 101)
        naive += bool(np.any(stats.binom.sf(hits - 1, seen, 0.05) < 0.05))
    assert naive / 100 > 0.15


def test_a_rate_that_doubles_is_found_soon():
    rng, rates = np.random.default_rng(1), {"ada": 0.05, "bob": 0.03}
    before = {n: Counts(round(2000 * r), 2000) for n, r in rates.items()}
    worse = {n: 2 * r for n, r in rates.items()}
    found = sum(_alarmed(rng, before, worse, looks=20, pictures=50) for _ in range(50))
    assert found >= 45  # within 1,000 pictures of each
    one = {**rates, "ada": 0.15}
    told = evidence(before, {"ada": Counts(150, 1000), "bob": Counts(30, 1000)}, 0.05)
    assert told.worse == ("ada",)
    assert sum(_alarmed(rng, before, one, looks=20, pictures=50) for _ in range(50)) >= 45


def test_another_mix_of_advertisers_is_no_alarm():
    before = {"easy": Counts(10, 1000), "hard": Counts(200, 1000)}
    now = {"easy": Counts(1, 100), "hard": Counts(4000, 20_000)}  # rates are the same
    told = evidence(before, now, 0.05)
    assert not told.alarm
    assert not evidence(before, {"new": Counts(90, 100)}, 0.05).alarm  # nothing to compare with


def _alarmed(rng, before, rates, looks: int, pictures: int) -> bool:
    now = dict.fromkeys(rates, Counts(0, 0))
    for _ in range(looks):
        for name, rate in rates.items():
            hits = int(rng.binomial(pictures, rate))
            now[name] = Counts(now[name].events + hits, now[name].trials + pictures)
        if evidence(before, now, 0.05).alarm:
            return True
    return False


def planted(database: Database, fixed_live: int, hours: float = 2.0) -> None:
    """Write 200 pictures of ada and bob under each model; 4 of each were corrected before."""
    with database.writes() as session:
        for digest, state in ((OLD, "retired"), (NEW, "live")):
            session.add(
                Model(
                    task="classify", name="m", digest=digest, path="x", state=state,
                    created_at=SINCE, metrics={},
                )
            )  # fmt: skip
        session.flush()
        session.add(
            Promotion(task="classify", before_id=1, after_id=2, kind="promote", who="ana", why="",
                      at=SINCE)
        )  # fmt: skip
        session.add_all(Picture(look_hash="0" * 16, thumbnail=b"") for _ in range(800))
        session.flush()
        number = 0
        for digest, at in ((OLD, SINCE - timedelta(days=5)), (NEW, SINCE + timedelta(hours=1))):
            for advertiser in ("ada", "bob"):
                for each in range(200):
                    number += 1
                    session.add(
                        Exposure(model=digest, advertiser=advertiser, picture_id=number, at=at,
                                 day=f"{at:%Y-%m-%d}", is_new=True)
                    )  # fmt: skip
                    worse = digest == NEW and advertiser == "ada"
                    if each < (fixed_live if worse else 4):
                        session.add(_fix(advertiser, number, at + timedelta(hours=hours)))


def _fix(advertiser: str, picture: int, at: datetime, **more) -> Fix:
    return Fix(
        advertiser=advertiser, picture_id=picture, sha256="0" * 64, label="colour", before=None,
        after="red", who="ana", why="", at=at, **more,
    )  # fmt: skip


def test_fixes_are_counted_by_advertiser_day_and_model(database: Database):
    planted(database, fixed_live=5)
    with database.reads() as session:
        report = report_of(session, "classify", NOW)
    assert (report.live.digest, report.before.digest) == (NEW, OLD)
    counted = {
        name: (tally.fixed, tally.answered) for name, tally in report.by_advertiser(NEW).items()
    }
    assert counted == {"ada": (5, 200), "bob": (4, 200)}
    assert list(report.by_day(NEW)) == ["2026-11-17"]
    assert report.total(OLD).fix_rate.value == pytest.approx(0.02)
    assert not any(each.alarm for each in report.evidence.values())
    assert set(report.only("bob").by_advertiser(NEW)) == {"bob"}
    assert report.only("bob").worse == ()


def test_the_alarm_is_raised_once_and_names_the_advertiser(database: Database, caplog):
    planted(database, fixed_live=60)
    watching = Watch(database)
    (report,) = watching.check(NOW)
    assert report.worse == ("ada",)
    assert watching.alarms() == {"classify": True}
    watching.check(NOW + timedelta(hours=1))
    with database.reads() as session:
        row = session.get(Model, 2)
        assert row.alarm_at.replace(tzinfo=UTC) == NOW
    assert sum("correct model 2 more often" in each.message for each in caplog.records) == 1
    assert "for ada" in caplog.text


def answering(database: Database, folder: Path) -> Models:
    models, live = Models(Registry(database, folder)), Live(Fake(NEW))
    models.add("classify", live, LocalDeployment(live, Loads()))
    return models


def gauge(models: Models) -> list[tuple[str, float]]:
    (alarm, _) = models.collect()
    return [(sample.labels["task"], sample.value) for sample in alarm.samples]


def test_the_gauge_is_what_the_database_says_from_the_start_and_after_a_rollback(
    database: Database, tmp_path
):
    planted(database, fixed_live=60)
    Watch(database).check(NOW)  # of the process until now
    models = answering(database, tmp_path)
    assert gauge(models) == [("classify", 1.0)]
    with database.writes() as session:
        live, before = session.get(Model, 2), session.get(Model, 1)
        make_live(session, before, live, Change(ROLLBACK, "ana"))
    assert gauge(models) == [("classify", 0.0)]


def test_the_gauge_stays_while_the_database_does_not_answer(
    database: Database, tmp_path, monkeypatch
):
    planted(database, fixed_live=60)
    Watch(database).check(NOW)
    models = answering(database, tmp_path)

    def gone():
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(database, "reads", gone)
        assert gauge(models) == []  # nobody knows
    assert gauge(models) == [("classify", 1.0)]
    monkeypatch.setattr(database, "reads", gone)
    assert gauge(models) == [("classify", 1.0)]


def test_what_is_not_a_day_old_does_not_count_yet(database: Database):
    planted(database, fixed_live=60, hours=2.0)
    soon = SINCE + timedelta(hours=20)
    with database.reads() as session:
        report = report_of(session, "classify", soon)
    assert report.total(NEW).answered == 0
    assert not report.evidence[24.0].alarm
    # Within the first hour nothing was corrected, of either model.
    assert report.evidence[1.0].pooled <= 1.0


def test_undone_and_later_fixes_are_no_fixes_of_the_model(database: Database):
    planted(database, fixed_live=0)
    with database.writes() as session:
        at = SINCE + timedelta(hours=1)
        session.add(_fix("ada", 401, at + timedelta(hours=30)))  # after a day
        session.add(_fix("ada", 402, at - timedelta(hours=1)))  # before the answer
        session.add(_fix("bob", 403, at + timedelta(hours=1)))  # of another advertiser
        session.add(_fix("ada", 404, at + timedelta(hours=1), undoes=1))
    with database.reads() as session:
        report = report_of(session, "classify", NOW)
    assert report.by_advertiser(NEW)["ada"].fixed == 0
    assert report.by_advertiser(NEW)["ada"].answered == 200


def judged(database: Database) -> None:
    """Let ada confirm 401, 402 (and take it back) and 403, and correct 403 and 404."""
    planted(database, fixed_live=0)
    with database.writes() as session:
        for picture in (401, 402, 403, 404):
            answer = StoredAnswer(
                picture_id=picture, model=NEW, options="{}", content={}, used_at=NOW
            )
            session.add(answer)
            session.flush()
            session.add(
                AnswerLabel(answer_id=answer.id, label="colour", picture_id=picture,
                            sha256="0" * 64, value="blue", probability=0.9, set_size=1)
            )  # fmt: skip
        for picture, undone in ((401, None), (402, NOW), (403, None)):
            session.add(
                Review(advertiser="ada", picture_id=picture, sha256="0" * 64, label="colour",
                       value="blue", who="ana", at=NOW, undone_at=undone)
            )  # fmt: skip
        for picture, value in ((403, "red"), (404, "blue")):
            fix = _fix("ada", picture, NOW)
            session.add(fix)
            session.flush()
            session.add(
                CurrentFix(advertiser="ada", picture_id=picture, label="colour", fix_id=fix.id,
                           value=value)
            )  # fmt: skip


def _agreement(database: Database) -> tuple[int, int]:
    with database.reads() as session:
        tally = report_of(session, "classify", NOW).by_advertiser(NEW)["ada"]
    return tally.agreed, tally.judged


def test_agreement_counts_fixes_and_confirmations(database: Database):
    judged(database)
    # 401 was confirmed, 403 confirmed and then corrected, 404 corrected to what the model says.
    assert _agreement(database) == (2, 3)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, (2, 2)),  # the fix of 404, the confirmation of 401
        (2, (2, 3)),  # the fix of 403, too: it wins over the confirmation
    ],
)
def test_of_too_many_judgements_the_last_ones_count_and_fixes_win(
    database: Database, monkeypatch, most: int, expected: tuple[int, int]
):
    judged(database)
    with database.writes() as session:  # the last confirmation is of what was corrected
        session.add(
            Review(advertiser="ada", picture_id=403, sha256="0" * 64, label="colour",
                   value="blue", who="eva", at=NOW)
        )  # fmt: skip
    monkeypatch.setattr(watch, "MOST_JUDGED", most)
    assert _agreement(database) == expected


def test_answers_are_noted_once_and_new_ones_are_told_from_old(database: Database):
    planted(database, fixed_live=0)
    exposures = Exposures(database)
    exposures.note("ada", {1: NEW, 700: NEW})  # 1 was answered by the model before
    exposures.note("ada", {700: NEW})
    assert exposures.flush() == 2
    assert exposures.flush() == 0
    exposures.note("ada", {700: NEW})
    assert exposures.flush() == 0  # it is known
    with database.reads() as session:
        assert not session.get(Exposure, (NEW, "ada", 1)).is_new
        assert session.get(Exposure, (NEW, "ada", 700)).is_new
        assert session.get(Exposure, (NEW, "cyd", 700)) is None
    with database.writes() as session:
        session.add(Exposure(model="c" * 64, advertiser="ada", picture_id=1, at=datetime.now(UTC),
                             day="2026-11-17", is_new=False))  # fmt: skip
        session.get(Exposure, (NEW, "ada", 1)).at = datetime.now(UTC) - timedelta(days=91)
    exposures.trim()
    with database.reads() as session:
        assert session.get(Exposure, ("c" * 64, "ada", 1)) is None
        assert session.get(Exposure, (NEW, "ada", 1)) is None
        assert session.get(Exposure, (OLD, "ada", 1)).is_new


def test_a_picture_is_no_new_one_though_what_answered_first_is_two_models_old(database: Database):
    planted(database, fixed_live=0)
    now = datetime.now(UTC)
    with database.writes() as session:
        session.get(Model, 2).state = "retired"
        session.flush()
        for digest, state in (("c" * 64, "retired"), ("d" * 64, "live")):
            session.add(Model(task="classify", name="m", digest=digest, path="x", state=state,
                              created_at=now, metrics={}))  # fmt: skip
        session.flush()
        for before, after in ((2, 3), (3, 4)):
            session.add(Promotion(task="classify", before_id=before, after_id=after, kind="promote",
                                  who="ana", why="", at=now))  # fmt: skip
        session.get(Exposure, (OLD, "ada", 1)).at = now - timedelta(days=400)
    exposures = Exposures(database)
    exposures.trim()
    exposures.note("ada", dict.fromkeys((1, 401, 700), "d" * 64))
    assert exposures.flush() == 3
    with database.reads() as session:
        new = {
            each: session.get(Exposure, ("d" * 64, "ada", each)).is_new for each in (1, 401, 700)
        }
    assert new == {1: False, 401: False, 700: True}  # 1 was answered by OLD, 401 by NEW


def test_of_two_models_that_wait_the_first_one_answered_a_new_picture(
    database: Database, monkeypatch
):
    planted(database, fixed_live=0)
    monkeypatch.setattr(exposures_module, "CHUNK", 1)  # also between two transactions
    exposures = Exposures(database)
    exposures.note("ada", {700: NEW})
    exposures.note("ada", {700: OLD})  # such as after a rollback
    assert exposures.flush() == 2
    with database.reads() as session:
        assert session.get(Exposure, (NEW, "ada", 700)).is_new
        assert not session.get(Exposure, (OLD, "ada", 700)).is_new


def test_pictures_are_written_in_their_order_whoever_got_them(database: Database, monkeypatch):
    planted(database, fixed_live=0)
    written: list[tuple[int, str, str]] = []

    def insert(session, table, rows):
        written.extend((row["picture_id"], row["advertiser"], row["model"]) for row in rows)
        insert_missing(session, table, rows)

    monkeypatch.setattr(exposures_module, "insert_missing", insert)
    exposures = Exposures(database)
    exposures.note("bob", {701: OLD, 703: NEW})
    exposures.note("ada", {702: NEW, 701: NEW})
    assert exposures.flush() == 4
    assert written == [(701, "ada", NEW), (701, "bob", OLD), (702, "ada", NEW), (703, "bob", NEW)]
