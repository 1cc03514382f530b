"""Take fixes from a file, as ``exchange`` writes them or as a person makes them in a spreadsheet.

    advertiser,image_url,label,value,who,why
    dealer_007,https://cdn.example.com/1.jpg,colour,burgundy,ana,"red wine, not red"

Each row stands on its own: a bad one is listed with its number and the reason, one that contradicts
what somebody has said is a conflict, and is listed too; the others are taken. A file may be taken
twice: what is there already is unchanged. With the column ``before`` it is a history, whose rows
are repeated one after the other, undos too.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from augrank.errors import BadRequest, RequestError
from service.access.identity import Identity, Role
from service.database.session import Database
from service.database.tables import Fix, Picture, Source, StoredImage
from service.errors import Conflict, NotFound
from service.fixes import history
from service.fixes.classes import check_class, spelled
from service.fixes.rows import FixLine, NumberedRow
from service.images.pictures import sent_before
from service.images.sources import digest_of

CHUNK = 100  # rows that are written together
MAX_LISTED = 1000  # bad rows and conflicts; more are only counted


@dataclass(frozen=True)
class RowProblem:
    """A row that was not taken."""

    row: int
    reason: str


@dataclass
class ImportReport:
    """What came of a file."""

    rows: int = 0
    taken: int = 0
    unchanged: int = 0  # said already
    bad: int = 0
    conflicts: int = 0  # with what somebody has said
    bad_rows: list[RowProblem] = field(default_factory=list)  # the first MAX_LISTED
    conflict_rows: list[RowProblem] = field(default_factory=list)


@dataclass(frozen=True)
class Intake:
    """How a file is taken.

    Attributes:
        identity: who brings it.
        classes: of each label; None: any, as when no model is at hand.
        who: the person, where a row names none.
        dry_run: only tell what would come of it.
    """

    identity: Identity
    classes: Mapping[str, Sequence[str]] | None
    who: str | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class _Asked:
    """A row, and the picture that it is about."""

    line: FixLine
    replays: bool
    sha256: str
    picture: int
    who: str

    @property
    def key(self) -> tuple[str, int, str]:
        """What one fix can hold for."""
        return self.line.advertiser, self.picture, self.line.label


@dataclass
class _Course:
    """How far a file was taken."""

    intake: Intake
    report: ImportReport
    # By a dry run, which writes nothing.
    said: dict[tuple[str, int, str], str | None] = field(default_factory=dict)
    # Of equal rows of a history: how many it had before, and how many of the file came so far.
    counts: dict[Hashable, tuple[int, int]] = field(default_factory=dict)

    def is_written(self, session: Session, asked: _Asked) -> bool:
        """Tell whether the history has had the row: its n-th equal row, if it is the file's."""
        line = asked.line
        row = (*asked.key, line.before, line.value, asked.who, line.why)
        had, came = self.counts.get(row) or (_written(session, asked), 0)
        self.counts[row] = had, came + 1
        return came < had


def take_fixes(
    database: Database,
    rows: Iterable[NumberedRow],
    intake: Intake,
    keep: Callable[[str], object] = lambda sha256: None,
) -> ImportReport:
    """Take the fixes of a file.

    Args:
        database: with the images.
        rows: of the file.
        intake: how.
        keep: is called with the sha256 of each image that was corrected: it stays for training.
    """
    course, left = _Course(intake, ImportReport()), iter(rows)
    while chunk := list(islice(left, CHUNK)):
        with (database.reads if intake.dry_run else database.writes)() as session:
            if not intake.dry_run:
                _lock(session, chunk)
            digests = [_take(session, row, course) for row in chunk]
            if not intake.dry_run:  # before the fixes are: a file too many does no harm
                for sha256 in dict.fromkeys(each for each in digests if each is not None):
                    keep(sha256)
    return course.report


def _lock(session: Session, chunk: Sequence[NumberedRow]) -> None:
    """Lock the pictures of some rows in one order, so that two files do not wait for each other."""
    lines = [row.line for row in chunk if row.line is not None]
    urls = [(line.advertiser, digest_of(str(line.image_url))) for line in lines if not line.sha256]
    sources = select(Source.sha256).where(tuple_(Source.advertiser, Source.url_digest).in_(urls))
    digests = {line.sha256 for line in lines if line.sha256} | set(session.scalars(sources))
    shown = select(StoredImage.picture_id).where(StoredImage.sha256.in_(digests))
    query = select(Picture.id).where(Picture.id.in_(shown)).order_by(Picture.id)
    session.execute(query.with_for_update(key_share=True))


def _take(session: Session, row: NumberedRow, course: _Course) -> str | None:
    """Take a row, and count it; return the image whose fix is there now."""
    report = course.report
    report.rows += 1
    try:
        asked = _asked(session, row, course.intake)
        added = _applied(session, asked, course)
    except Conflict as error:
        report.conflicts += 1
        _list(report.conflict_rows, row.number, error)
        return None
    except RequestError as error:
        report.bad += 1
        _list(report.bad_rows, row.number, error)
        return None
    report.taken += added
    report.unchanged += not added
    return asked.sha256


def _applied(session: Session, asked: _Asked, course: _Course) -> bool:
    """Add the fix of a row; return False if it is there already.

    Raises:
        Conflict: something else holds than the row replaces.
    """
    held = _held(session, asked)
    holds = course.said.get(asked.key, held.after if held else None)
    if asked.replays and course.is_written(session, asked):
        return False
    if holds == asked.line.value:
        return False
    if holds != (asked.line.before if asked.replays else None):
        raise Conflict(_differs(asked, holds, held))
    if course.intake.dry_run:
        course.said[asked.key] = asked.line.value
    else:
        _write(session, asked, held)
    return True


def _asked(session: Session, row: NumberedRow, intake: Intake) -> _Asked:
    """Check a row, and find its picture.

    Raises:
        RequestError: it does not fit.
    """
    line = row.line
    if line is None:
        raise BadRequest(row.problem)
    intake.identity.check(line.advertiser)
    if intake.classes is not None:
        line = line.model_copy(
            update={
                "value": spelled(intake.classes, line.label, line.value),
                "before": spelled(intake.classes, line.label, line.before),
            }
        )
        check_class(intake.classes, line.label, line.value)
    sha256 = line.sha256 or _at_url(session, line)
    image = session.get(StoredImage, sha256)
    if (
        image is None
        or sha256 not in sent_before(session, line.advertiser, [image.picture_id]).images
    ):
        raise NotFound(f"{line.advertiser} has not sent the image {sha256}: classify it first")
    who, line = _named(line, intake)
    return _Asked(line, row.replays, sha256, image.picture_id, who)


def _at_url(session: Session, line: FixLine) -> str:
    source = session.get(Source, (line.advertiser, digest_of(str(line.image_url))))
    if source is None:
        raise NotFound(
            f"what {line.advertiser} has sent from {line.image_url} is not known, or not any more: "
            "give the image's sha256"
        )
    return source.sha256


def _named(line: FixLine, intake: Intake) -> tuple[str, FixLine]:
    """Return who says so, and the row.

    Only an administrator brings in what others have said; of anybody else's file, the key's holder
    says it, and the name in the file is a part of the reason.
    """
    holder = intake.identity.who
    if not holder or intake.identity.role >= Role.ADMIN:
        return intake.identity.named(None) if holder and not line.who else _name(line, intake), line
    if line.who and line.who != holder:
        why = f"{line.why} (said by {line.who})".strip()
        return holder, line.model_copy(update={"why": why})
    return holder, line


def _name(line: FixLine, intake: Intake) -> str:
    if name := line.who or intake.who:
        return name
    raise BadRequest("who does not fit: expected who says so, got nobody")


def _held(session: Session, asked: _Asked) -> Fix | None:
    current = history.current_fix(session, *asked.key)
    return session.get(Fix, current.fix_id) if current else None


def _written(session: Session, asked: _Asked) -> int:
    """Count the equal rows of the history."""
    line = asked.line
    query = select(func.count()).where(
        Fix.advertiser == line.advertiser,
        Fix.picture_id == asked.picture,
        Fix.label == line.label,
        Fix.before.is_(None) if line.before is None else Fix.before == line.before,
        Fix.after.is_(None) if line.value is None else Fix.after == line.value,
        Fix.who == asked.who,
        Fix.why == line.why,
    )
    return session.scalar(query) or 0


def _write(session: Session, asked: _Asked, held: Fix | None) -> None:
    line = asked.line
    if line.value is None:
        assert held is not None  # else nothing holds, as the row says, and it is unchanged
        history.undo(session, line.advertiser, held.id, asked.who, line.why)
        return
    history.correct(
        session,
        history.Correction(
            advertiser=line.advertiser,
            sha256=asked.sha256,
            label=line.label,
            value=line.value,
            before=held.after if held else None,
            who=asked.who,
            why=line.why,
        ),
    )


def _differs(asked: _Asked, holds: str | None, held: Fix | None) -> str:
    by = f" by {held.who} at {held.at.isoformat(timespec='seconds')}" if held else ""
    text = f"{asked.line.label} is {holds or history.UNSET}{by}; the row says {asked.line.value}"
    if asked.replays:
        text += f" instead of {asked.line.before or history.UNSET}"
    return text


def _list(problems: list[RowProblem], row: int, error: RequestError) -> None:
    if len(problems) < MAX_LISTED:
        problems.append(RowProblem(row, str(error)))
