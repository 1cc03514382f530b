"""Take fixes from a file, as ``exchange`` writes them or as a person makes them in a spreadsheet.

    advertiser,image_url,label,value,who,why
    dealer_007,https://cdn.example.com/1.jpg,colour,burgundy,ana,"red wine, not red"

Each row stands on its own: a bad one is listed with its number and the reason, one that contradicts
what somebody has said is a conflict, and is listed too; the others are taken. A file may be taken
twice: what is there already is unchanged. With the column ``before`` it is a history, whose rows
are repeated one after the other, undos too.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from sqlalchemy import select
from sqlalchemy.orm import Session

from augrank.errors import BadRequest, RequestError, one_of
from service.access.identity import Identity, Role
from service.database.session import Database
from service.database.tables import Fix, Source, StoredImage
from service.errors import Conflict, NotFound
from service.fixes import history
from service.fixes.rows import FixLine, NumberedRow
from service.images.pictures import sent_before

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
    report, left = ImportReport(), iter(rows)
    said: dict[tuple[str, int, str], str | None] = {}  # by a dry run, which writes nothing
    while chunk := list(islice(left, CHUNK)):
        corrected: list[str] = []
        with (database.reads if intake.dry_run else database.writes)() as session:
            for row in chunk:
                report.rows += 1
                digest = _take(session, row, intake, report, said)
                if digest is not None:
                    corrected.append(digest)
        if not intake.dry_run:
            for sha256 in dict.fromkeys(corrected):
                keep(sha256)
    return report


def _take(
    session: Session,
    row: NumberedRow,
    intake: Intake,
    report: ImportReport,
    said: dict[tuple[str, int, str], str | None],
) -> str | None:
    """Take a row, and count it; return the image if a fix was added."""
    try:
        asked = _asked(session, row, intake)
        added = _applied(session, asked, intake, said)
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
    return asked.sha256 if added else None


def _applied(
    session: Session,
    asked: _Asked,
    intake: Intake,
    said: dict[tuple[str, int, str], str | None],
) -> bool:
    """Add the fix of a row; return False if it is there already.

    Raises:
        Conflict: something else holds than the row replaces.
    """
    held = _held(session, asked)
    holds = said.get(asked.key, held.after if held else None)
    if holds == asked.line.value or (asked.replays and _is_written(session, asked)):
        return False
    if holds != (asked.line.before if asked.replays else None):
        raise Conflict(_differs(asked, holds, held))
    if intake.dry_run:
        said[asked.key] = asked.line.value
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
    _check_class(line, intake.classes)
    sha256 = line.sha256 or _at_url(session, line)
    image = session.get(StoredImage, sha256)
    if image is None or not sent_before(session, line.advertiser, [image.picture_id]).pictures:
        raise NotFound(f"{line.advertiser} has not sent the image {sha256}: classify it first")
    who, line = _named(line, intake)
    return _Asked(line, row.replays, sha256, image.picture_id, who)


def _check_class(line: FixLine, classes: Mapping[str, Sequence[str]] | None) -> None:
    if classes is None:
        return
    if line.label not in classes:
        raise BadRequest(f"the model has no label {line.label!r}: {one_of(classes, line.label)}")
    if line.value is not None and line.value not in classes[line.label]:
        raise BadRequest(
            f"{line.label} has no class {line.value!r}: {one_of(classes[line.label], line.value)}"
        )


def _at_url(session: Session, line: FixLine) -> str:
    digest = hashlib.sha256(str(line.image_url).encode()).hexdigest()
    source = session.get(Source, (line.advertiser, digest))
    if source is None:
        raise NotFound(f"{line.advertiser} has not sent the image at {line.image_url}")
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


def _is_written(session: Session, asked: _Asked) -> bool:
    """Tell whether the history has the row already."""
    line = asked.line
    query = select(Fix.id).where(
        Fix.advertiser == line.advertiser,
        Fix.picture_id == asked.picture,
        Fix.label == line.label,
        Fix.before.is_(None) if line.before is None else Fix.before == line.before,
        Fix.after.is_(None) if line.value is None else Fix.after == line.value,
        Fix.who == asked.who,
        Fix.why == line.why,
    )
    return session.scalar(query.limit(1)) is not None


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
