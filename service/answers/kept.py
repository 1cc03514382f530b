"""Keep what models said of pictures: by file, model and options, bounded, least recent out.

Answers are shared, and so is the room for them: an advertiser who asks about very many pictures
makes room with their own answers, and not with those of others who have fewer.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from service.database.entries import enter_answers, lock_pictures, settle
from service.database.session import Database, insert_missing
from service.database.tables import AnswerLabel, StoredAnswer
from service.shares import over_share

NOTED_EVERY = timedelta(hours=1)  # a use is noted: reading does not write otherwise
CHUNK = 500  # ids in a query
SPARE = 0.05  # share of the answers that are removed at once when there are too many


@dataclass(frozen=True)
class KeptAnswers:
    """The answers of one model, by picture."""

    content: Mapping[int, Mapping[str, Any]]
    stale: tuple[int, ...]  # ids of answers whose use was noted long ago


@dataclass(frozen=True)
class NewAnswer:
    """An answer to keep.

    Attributes:
        picture: that the file shows.
        sha256: of the file that the model has seen.
        question: as ``question_of`` gives it.
        content: of the answer.
        advertiser: who asks.
        listed: whether its labels are for the inspector's queue: those with usual options are.
    """

    picture: int
    sha256: str
    question: str
    content: Mapping[str, Any]
    advertiser: str
    listed: bool = False


def question_of(options: Mapping[str, Any], sha256: str) -> str:
    """Return what an answer depends on beside the model: options, and the file that it has seen.

    Two files may show one picture and get different answers. So an answer is shared with those who
    have sent its file, and with nobody who has sent another one that looks like it.
    """
    return json.dumps({**options, "image": sha256}, sort_keys=True)


_ANSWER = StoredAnswer.__table__.c
_SAME = (
    _ANSWER.model == bindparam("model"),
    _ANSWER.picture_id.in_(bindparam("pictures", expanding=True)),
    _ANSWER.options.in_(bindparam("questions", expanding=True)),
)
IDS = select(_ANSWER.id, _ANSWER.picture_id, _ANSWER.options).where(*_SAME)
KEPT = IDS.add_columns(_ANSWER.content, _ANSWER.used_at).order_by(_ANSWER.id)


def kept_answers(session: Session, model: str, *questions: Mapping[str, int]) -> KeptAnswers:
    """Return the answers that are known.

    Args:
        session: that reads.
        model: its digest.
        questions: pictures by question, in groups: of several answers about a picture that of the
            first group counts, and of one group the first that was kept.
    """
    every = {question: picture for group in questions for question, picture in group.items()}
    given = {"model": model, "pictures": list(set(every.values())), "questions": list(every)}
    rows = session.execute(KEPT, given).all()
    chosen: dict[int, Any] = {}
    for group in questions:
        for row in rows:
            if group.get(row.options) == row.picture_id:
                chosen.setdefault(row.picture_id, row)
    long_ago = datetime.now(UTC) - NOTED_EVERY
    stale = tuple(row.id for row in chosen.values() if row.used_at < long_ago)
    return KeptAnswers({picture: row.content for picture, row in chosen.items()}, stale)


def last_answers(
    session: Session, questions: Mapping[str, int]
) -> dict[int, tuple[str, Mapping[str, Any]]]:
    """Return the last answer of any model, with the model's digest, by picture."""
    rows = session.execute(
        select(StoredAnswer.picture_id, StoredAnswer.model, StoredAnswer.content)
        .where(*_among(questions))
        .order_by(StoredAnswer.id)
    )
    return {picture: (model, content) for picture, model, content in rows}


def keep_answers(session: Session, answers: Sequence[NewAnswer], model: str) -> None:
    """Keep answers; one that is there already stays as it is."""
    now = datetime.now(UTC)
    rows = [
        {
            "picture_id": answer.picture,
            "model": model,
            "options": answer.question,
            "content": dict(answer.content),
            "used_at": now,
            "advertiser": answer.advertiser,
        }
        # In one order: no deadlock.
        for answer in sorted(answers, key=lambda each: (each.picture, each.question))
    ]
    if rows:
        lock_pictures(session, [answer.picture for answer in answers])
        insert_missing(session, StoredAnswer, rows)
        _keep_labels(session, [answer for answer in answers if answer.listed], model)


def note_use(session: Session, answers: Sequence[int]) -> None:
    """Note that answers, by id, were used now."""
    session.execute(
        update(StoredAnswer).where(StoredAnswer.id.in_(answers)).values(used_at=datetime.now(UTC))
    )


def trim_answers(database: Database, most: int) -> int:
    """Remove answers if there are too many; return how many.

    Of the advertisers with the most answers the least recently used ones go, some in a transaction:
    their pictures are locked, and requests wait for them.
    """
    with database.reads() as session:
        surplus = _surplus(session, most)
    ids = sorted(surplus)
    for start in range(0, len(ids), CHUNK):
        some = ids[start : start + CHUNK]
        pictures = [surplus[each] for each in some]
        with database.writes() as session:
            lock_pictures(session, pictures)
            session.execute(delete(StoredAnswer).where(StoredAnswer.id.in_(some)))
            settle(session, pictures)  # an earlier answer may be the last one now
    return len(ids)


def _surplus(session: Session, most: int) -> dict[int, int]:
    """Return the answers that are to go, if there are too many: pictures by id."""
    count = session.scalar(select(func.count()).select_from(StoredAnswer)) or 0
    if count <= most:
        return {}
    rows = session.execute(
        select(StoredAnswer.advertiser, func.count()).group_by(StoredAnswer.advertiser)
    )
    surplus = over_share(dict(rows.all()), round(most * (1 - SPARE)))
    pictures: dict[int, int] = {}  # by answer
    for advertiser, own in surplus.items():
        oldest = select(StoredAnswer.id, StoredAnswer.picture_id)
        oldest = oldest.where(StoredAnswer.advertiser == advertiser)
        oldest = oldest.order_by(StoredAnswer.used_at, StoredAnswer.id).limit(own)
        pictures |= {row.id: row.picture_id for row in session.execute(oldest)}
    return pictures


def _among(questions: Mapping[str, int]) -> tuple[ColumnElement[bool], ...]:
    pictures = sorted(set(questions.values()))
    return StoredAnswer.picture_id.in_(pictures), StoredAnswer.options.in_(list(questions))


def _keep_labels(session: Session, answers: Sequence[NewAnswer], model: str) -> None:
    """Write the labels of answers beside them, where the inspector's queue sorts them."""
    if not answers:
        return
    kept = {(each.picture, each.question): each for each in answers}
    asked = {question: picture for picture, question in kept}
    given = {"model": model, "pictures": sorted(set(asked.values())), "questions": list(asked)}
    ids = session.execute(IDS, given)
    rows = [
        {
            "answer_id": answer_id,
            "label": label,
            "picture_id": picture,
            "sha256": kept[picture, question].sha256,
            "value": told["value"],
            "probability": told["probability"],
            "set_size": len(told["set"]),
        }
        for answer_id, picture, question in ids
        if (picture, question) in kept
        for label, told in kept[picture, question].content.get("labels", {}).items()
    ]
    if rows:
        insert_missing(session, AnswerLabel, rows)
        ids_of_rows = sorted({row["answer_id"] for row in rows})
        enter_answers(session, ids_of_rows, asked.values())
