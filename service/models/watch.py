"""Watch a model after its promotion: do people correct it more often than the one before?

Fix rate: of the pictures that an advertiser first sent under a model, how many were corrected
within an hour, or a day. Only pictures count whose hour or day is over, for both models: fixes
that are still to come would otherwise make every new model look good. Each advertiser is compared
with itself. The alarm stays valid however often one looks (sequential.py).

Agreement: of the labels that people have judged, by a fix or a confirmation, how many are what the
model says. It tells more than the fix rate where people confirm, but depends on what they look at.
"""

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from service.database.session import Database
from service.database.tables import (
    AnswerLabel,
    CurrentFix,
    Exposure,
    Fix,
    Model,
    PastExposure,
    Promotion,
    Review,
    StoredAnswer,
)
from service.models.registry import LIVE, live_model
from service.models.sequential import Counts, Evidence, evidence
from service.models.statistics import Interval, wilson

log = logging.getLogger("augrank.service")
HORIZONS = (timedelta(hours=1), timedelta(days=1))  # within which a fix counts
ALARM_ERROR = 0.05  # of a false alarm, in all the time until the next promotion
MOST_JUDGED = 100_000  # labels of a report
DAYS = 14  # that a report lists
Cell = tuple[str, str]  # advertiser, day


@dataclass(frozen=True)
class Tally:
    """What came of a model's answers.

    Attributes:
        answered: pictures, new to the advertiser, whose day is over.
        fixed: those that were corrected within a day.
        judged: labels that people have corrected or confirmed.
        agreed: those that are what the model says.
    """

    answered: int = 0
    fixed: int = 0
    judged: int = 0
    agreed: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.answered + other.answered,
            self.fixed + other.fixed,
            self.judged + other.judged,
            self.agreed + other.agreed,
        )

    @property
    def fix_rate(self) -> Interval:
        """Fixes per answered picture, with its 95 % interval."""
        return wilson(self.fixed, self.answered)

    @property
    def agreement(self) -> Interval:
        """Share of judged labels that the model tells, with its 95 % interval."""
        return wilson(self.agreed, self.judged)


@dataclass(frozen=True)
class WatchReport:
    """A live model beside the one before it.

    Attributes:
        task: of both.
        live: the live model.
        before: the one before it; None: it is the first.
        since: when ``live`` became the live one.
        cells: tallies of both, by digest, and by advertiser and day.
        evidence: that fixes are more frequent, by horizon in hours.
        alarm_at: when the alarm was raised; None: it was not.
    """

    task: str
    live: Model
    before: Model | None
    since: datetime
    cells: Mapping[str, Mapping[Cell, Tally]]
    evidence: Mapping[float, Evidence]
    alarm_at: datetime | None

    @property
    def worse(self) -> tuple[str, ...]:
        """The advertisers that correct more often than before, with evidence."""
        names = {name for each in self.evidence.values() for name in each.worse}
        return tuple(sorted(names))

    def by_advertiser(self, digest: str) -> dict[str, Tally]:
        """Return a model's tallies by advertiser."""
        return _summed((cell[0], tally) for cell, tally in self.cells.get(digest, {}).items())

    def by_day(self, digest: str) -> dict[str, Tally]:
        """Return a model's tallies of its last days."""
        days = _summed((cell[1], tally) for cell, tally in self.cells.get(digest, {}).items())
        return dict(sorted(days.items())[-DAYS:])

    def total(self, digest: str) -> Tally:
        """Return a model's tally."""
        return sum(self.cells.get(digest, {}).values(), Tally())

    def only(self, advertiser: str | None) -> "WatchReport":
        """Return what an advertiser may see; None: everything."""
        if advertiser is None:
            return self
        cells = {
            digest: {cell: tally for cell, tally in own.items() if cell[0] == advertiser}
            for digest, own in self.cells.items()
        }
        mine = {
            hours: Evidence(
                each.groups.get(advertiser, 1.0),
                {name: value for name, value in each.groups.items() if name == advertiser},
                each.group_bar,
                each.group_bar,
            )
            for hours, each in self.evidence.items()
        }
        return WatchReport(
            self.task, self.live, self.before, self.since, cells, mine, self.alarm_at
        )


@dataclass
class Watch:
    """Looks at the live models now and then. Thread-safe.

    Attributes:
        database: with answers, fixes and models.
    """

    database: Database
    _alarms: dict[str, bool] = field(default_factory=dict)  # as the database last said
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def alarms(self) -> dict[str, bool]:
        """Return whether the alarm of the live model is on, by task, whoever has raised it.

        While the database does not answer, it is what it said before.
        """
        query = select(Model.task, Model.alarm_at).where(Model.state == LIVE)
        with suppress(SQLAlchemyError), self.database.reads() as session:
            self._alarms = {task: at is not None for task, at in session.execute(query)}
        return self._alarms

    def check(self, now: datetime | None = None) -> list[WatchReport]:
        """Look at all tasks; raise the alarm where a model has become worse.

        Args:
            now: the time; None: the present.
        """
        with self._lock:
            with self.database.reads() as session:
                tasks = list(session.scalars(select(Model.task).where(Model.state == LIVE)))
                found = [report_of(session, task, now) for task in tasks]
            reports = [each for each in found if each is not None]
            for report in reports:
                self._raise(report, now or datetime.now(UTC))
        return reports

    def _raise(self, report: WatchReport, now: datetime) -> None:
        if report.alarm_at is not None or not any(e.alarm for e in report.evidence.values()):
            return
        with self.database.writes() as session:
            row = session.get(Model, report.live.id, with_for_update=True)
            if row is None or row.state != LIVE:
                return
            row.alarm_at = now
        log.warning(
            "people correct model %d more often than the one before%s: look at /models, or"
            " python -m service models rollback",
            report.live.id,
            f" (for {', '.join(report.worse)})" if report.worse else "",
        )


def report_of(session: Session, task: str, now: datetime | None = None) -> WatchReport | None:
    """Return how the live model of a task does; None if there is none.

    Args:
        session: that reads.
        task: of the model.
        now: the time; None: the present.
    """
    now = now or datetime.now(UTC)
    live = live_model(session, task)
    if live is None:
        return None
    last = session.scalar(
        select(Promotion)
        .where(Promotion.after_id == live.id)
        .order_by(Promotion.id.desc())
        .limit(1)
    )
    since = last.at if last is not None else live.created_at
    before = session.get(Model, last.before_id) if last and last.before_id else None
    day = HORIZONS[-1]
    cells = {live.digest: _cells(session, live.digest, now - day, day)}
    found: dict[float, Evidence] = {}
    if before is not None:
        cells[before.digest] = _cells(session, before.digest, now - day, day)
        for horizon in HORIZONS:
            # What was answered before the promotion does not change any more.
            old = _fixed(session, before.digest, since - horizon, horizon)
            new = _fixed(session, live.digest, now - horizon, horizon, first=since)
            hours = horizon.total_seconds() / 3600
            found[hours] = evidence(_counts(old), _counts(new), ALARM_ERROR / len(HORIZONS))
    alarm_at = live.alarm_at if live.alarm_at else None
    return WatchReport(task, live, before, since, cells, found, alarm_at)


def _cells(session: Session, digest: str, until: datetime, horizon: timedelta) -> dict[Cell, Tally]:
    cells = {
        cell: Tally(counts.trials, counts.events)
        for cell, counts in _fixed(session, digest, until, horizon).items()
    }
    for cell, agrees in _judged(session, digest):
        cells[cell] = cells.get(cell, Tally()) + Tally(judged=1, agreed=int(agrees))
    return cells


def _fixed(
    session: Session,
    digest: str,
    until: datetime,
    horizon: timedelta,
    first: datetime | None = None,
) -> dict[Cell, Counts]:
    """Count a model's answers about new pictures, and those that were corrected in time.

    Args:
        session: that reads.
        digest: of the model.
        until: of the answers.
        horizon: within which a fix counts.
        first: of the answers; None: all.
    """

    def of_model(table: type[Exposure | PastExposure]) -> list[ColumnElement[bool]]:
        conditions: list[ColumnElement[bool]] = [table.model == digest, table.at <= until]
        return conditions if first is None else [*conditions, table.at >= first]

    own: list[ColumnElement[bool]] = [*of_model(Exposure), Exposure.is_new.is_(True)]
    past = of_model(PastExposure)
    trials = _by_cell(session, Exposure, own) + _by_cell(session, PastExposure, past)
    same = and_(Fix.advertiser == Exposure.advertiser, Fix.picture_id == Exposure.picture_id)
    rows = session.execute(
        select(Exposure.advertiser, Exposure.day, Exposure.picture_id, Exposure.at, Fix.at)
        .join(Fix, same)
        .where(*own, Fix.after.is_not(None), Fix.undoes.is_(None), Fix.at >= Exposure.at)
    )
    hits = {
        (advertiser, day, picture)
        for advertiser, day, picture, at, fixed_at in rows
        if fixed_at - at <= horizon
    }
    events: dict[Cell, int] = {}
    for advertiser, day, _ in hits:
        events[advertiser, day] = events.get((advertiser, day), 0) + 1
    return {cell: Counts(events.get(cell, 0), count) for cell, count in trials.items()}


def _by_cell(
    session: Session,
    table: type[Exposure | PastExposure],
    conditions: Sequence[ColumnElement[bool]],
) -> Counter[Cell]:
    counted = select(table.advertiser, table.day, func.count()).where(*conditions)
    rows = session.execute(counted.group_by(table.advertiser, table.day))
    return Counter({(advertiser, day): count for advertiser, day, count in rows})


def _judged(session: Session, digest: str) -> list[tuple[Cell, bool]]:
    """Return the labels of a model's answers that people judged last, and whether it was right."""
    told = (
        select(
            Exposure.advertiser,
            Exposure.day,
            Exposure.picture_id,
            AnswerLabel.answer_id,
            AnswerLabel.label,
            AnswerLabel.value,
        )
        .join(
            StoredAnswer,
            and_(
                StoredAnswer.picture_id == Exposure.picture_id, StoredAnswer.model == Exposure.model
            ),
        )
        .join(AnswerLabel, AnswerLabel.answer_id == StoredAnswer.id)
        .where(Exposure.model == digest)
    ).subquery()
    found: dict[tuple[str, int, str], tuple[Cell, bool]] = {}
    fixed = (
        select(CurrentFix.fix_id)
        .where(
            CurrentFix.advertiser == Review.advertiser,
            CurrentFix.picture_id == Review.picture_id,
            CurrentFix.label == Review.label,
        )
        .exists()
    )
    sources = (  # a fix wins over a confirmation, also over one that is later
        (CurrentFix, CurrentFix.value.is_not(None), CurrentFix.fix_id),
        (Review, and_(Review.undone_at.is_(None), ~fixed), Review.id),
    )
    for table, holds, number in sources:
        same = and_(
            table.advertiser == told.c.advertiser,
            table.picture_id == told.c.picture_id,
            table.label == told.c.label,
        )
        query = select(told, table.value.label("right")).join(table, same).where(holds)
        last = query.order_by(number.desc(), told.c.answer_id.desc()).limit(MOST_JUDGED)
        for row in session.execute(last):
            key = (row.advertiser, row.picture_id, row.label)
            found.setdefault(key, ((row.advertiser, row.day), row.value == row.right))
    return list(found.values())


def _counts(cells: Mapping[Cell, Counts]) -> dict[str, Counts]:
    found: dict[str, Counts] = {}
    for (advertiser, _), each in cells.items():
        so_far = found.get(advertiser, Counts(0, 0))
        found[advertiser] = Counts(so_far.events + each.events, so_far.trials + each.trials)
    return found


def _summed(pairs: Iterable[tuple[str, Tally]]) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for name, tally in pairs:
        found[name] = found.get(name, Tally()) + tally
    return dict(sorted(found.items()))
