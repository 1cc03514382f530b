"""Reports of what came of assignments: idempotent, and a history that only grows.

A report has an id of the reporter's own, so that it can be sent again. A report that was wrong is
replaced by a further one that names it; both stay, and the last one counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from augrank.errors import BadRequest, RequestError
from augrank.models.targets import NAME as TARGET_NAME
from service.database.tables import KEY, NAME, Assignment, Outcome
from service.errors import Conflict
from service.outcomes.assignments import no_such_assignment

MAX_COUNT = 10**9  # fits a database's integer
PRINTABLE = r"^[^\x00-\x1f\x7f]+$"  # no control characters


class Report(BaseModel):
    """What came of an assignment that was shown to some recipients."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "assignment": "0f8a6a3cbd0e4f6f9a7d5c1e2b3a4958",
                    "target": "open_rate",
                    "successes": 212,
                    "trials": 1000,
                    "report": "first day",
                }
            ]
        },
    )

    assignment: str = Field(pattern=f"^[0-9a-f]{{{KEY}}}$", description="Its id.")
    target: str | None = Field(
        None, pattern=f"^(?:{TARGET_NAME.pattern})$", description="By default the assignment's."
    )
    successes: int = Field(strict=True, ge=0, le=MAX_COUNT, description="Such as opened e-mails.")
    trials: int = Field(strict=True, ge=0, le=MAX_COUNT, description="Such as delivered e-mails.")
    report: str = Field(
        "1", min_length=1, max_length=NAME, pattern=PRINTABLE, description="Your id of the report."
    )
    replaces: str | None = Field(
        None,
        min_length=1,
        max_length=NAME,
        pattern=PRINTABLE,
        description="The report whose numbers were wrong.",
    )

    def check(self) -> None:
        """Check what concerns several fields.

        Raises:
            BadRequest: they do not fit each other.
        """
        if self.successes > self.trials:
            raise BadRequest(
                "successes do not fit",
                expected=f"at most as many as trials, {self.trials}",
                got=str(self.successes),
            )
        if self.replaces == self.report:
            raise BadRequest(
                "replaces does not fit",
                expected="a report under another id than this one",
                got=str(self.replaces),
            )


@dataclass(frozen=True)
class Kept:
    """A report that is kept.

    Attributes:
        outcome: its row.
        added: now; False: it was there already.
    """

    outcome: Outcome
    added: bool


class _Known:
    """The reports of some assignments, for one target each."""

    def __init__(self, rows: Sequence[Outcome]) -> None:
        self._by_report = {(row.assignment_id, row.target, row.report): row for row in rows}
        self._replaced = {
            (row.assignment_id, row.target, row.replaces): row for row in rows if row.replaces
        }

    def add(self, row: Outcome) -> Kept:
        """Add a report, unless it is there.

        Raises:
            Conflict: it is there with other numbers, or does not replace what it names.
        """
        about = row.assignment_id, row.target
        if (known := self._by_report.get((*about, row.report))) is not None:
            if _said(known) != _said(row):
                raise Conflict(
                    f"the report {row.report!r} is there with other numbers",
                    expected=_said(known),
                    got=_said(row),
                    remedy="Send the right numbers under another id of the report, and name this "
                    "one in replaces.",
                )
            return Kept(known, added=False)
        if row.replaces is not None:
            self._check_replaced(row, row.replaces)
            self._replaced[*about, row.replaces] = row
        self._by_report[*about, row.report] = row
        return Kept(row, added=True)

    def _check_replaced(self, row: Outcome, replaces: str) -> None:
        about = row.assignment_id, row.target
        if (*about, replaces) not in self._by_report:
            raise Conflict(
                "there is no such report to replace",
                expected=f"a report of {row.target} for this assignment",
                got=replaces,
            )
        if (other := self._replaced.get((*about, replaces))) is not None:
            raise Conflict(
                f"the report {replaces!r} was replaced already",
                expected=f"replaces: {other.report}, which replaced it",
                got=replaces,
            )


def keep_reports(
    session: Session, advertiser: str, reports: Sequence[Report], who: str
) -> list[Kept | RequestError]:
    """Keep reports; one that cannot be kept gets an error in its place.

    Args:
        session: that writes.
        advertiser: whose assignments they are about.
        reports: in order.
        who: reports.
    """
    assignments = _locked(session, advertiser, reports)
    ids = [assignment.id for assignment in assignments.values()]
    query = select(Outcome).where(Outcome.assignment_id.in_(ids))
    known, now = _Known(session.scalars(query).all()), datetime.now(UTC)
    results: list[Kept | RequestError] = []
    for report in reports:
        if (assignment := assignments.get(report.assignment)) is None:
            results.append(no_such_assignment(advertiser, report.assignment))
            continue
        row = Outcome(
            assignment_id=assignment.id,
            target=report.target or assignment.target,
            report=report.report,
            successes=report.successes,
            trials=report.trials,
            replaces=report.replaces,
            who=who,
            at=now,
        )
        try:
            report.check()
            results.append(known.add(row))
        except RequestError as error:
            results.append(error)
    session.add_all(each.outcome for each in results if isinstance(each, Kept) and each.added)
    session.flush()
    return results


def outcomes_of(session: Session, assignment: Assignment) -> list[Outcome]:
    """Return the reports about an assignment, in their order."""
    query = select(Outcome).where(Outcome.assignment_id == assignment.id).order_by(Outcome.id)
    return list(session.scalars(query))


def _locked(session: Session, advertiser: str, reports: Sequence[Report]) -> dict[str, Assignment]:
    """Return the assignments of reports, by key; no other transaction reports about them."""
    keys = sorted({report.assignment for report in reports})
    query = (
        select(Assignment)
        .where(Assignment.key.in_(keys), Assignment.advertiser == advertiser)
        .order_by(Assignment.id)  # in one order: no deadlock
        .with_for_update()
    )
    return {assignment.key: assignment for assignment in session.scalars(query)}


def _said(row: Outcome) -> str:
    instead = f" instead of {row.replaces}" if row.replaces else ""
    return f"{row.successes} of {row.trials}{instead}"
