"""Keep what models said of pictures: by picture, model and options, bounded, least recent out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from service.database.session import insert_missing
from service.database.tables import AnswerLabel, StoredAnswer

NOTED_EVERY = timedelta(hours=1)  # a use is noted: reading does not write otherwise
SPARE = 0.05  # share of the answers that are removed at once when there are too many


@dataclass(frozen=True)
class KeptAnswers:
    """The answers of one model with the same options, by picture."""

    content: Mapping[int, Mapping[str, Any]]
    stale: tuple[int, ...]  # pictures whose use was noted long ago


def kept_answers(
    session: Session, pictures: Sequence[int], model: str, options: str
) -> KeptAnswers:
    """Return the answers that are known."""
    rows = session.execute(
        select(StoredAnswer.picture_id, StoredAnswer.content, StoredAnswer.used_at).where(
            StoredAnswer.picture_id.in_(pictures),
            StoredAnswer.model == model,
            StoredAnswer.options == options,
        )
    ).all()
    long_ago = datetime.now(UTC) - NOTED_EVERY
    stale = tuple(picture for picture, _, used_at in rows if used_at < long_ago)
    return KeptAnswers({picture: content for picture, content, _ in rows}, stale)


def last_answers(
    session: Session, pictures: Sequence[int], options: str
) -> dict[int, tuple[str, Mapping[str, Any]]]:
    """Return the last answer of any model, with the model's digest, by picture."""
    rows = session.execute(
        select(StoredAnswer.picture_id, StoredAnswer.model, StoredAnswer.content)
        .where(StoredAnswer.picture_id.in_(pictures), StoredAnswer.options == options)
        .order_by(StoredAnswer.id)
    )
    return {picture: (model, content) for picture, model, content in rows}


def keep_answers(
    session: Session, answers: Mapping[int, Mapping[str, Any]], model: str, options: str
) -> None:
    """Keep answers by picture; one that is there already stays as it is."""
    now = datetime.now(UTC)
    rows = [
        {
            "picture_id": picture,
            "model": model,
            "options": options,
            "content": dict(content),
            "used_at": now,
        }
        for picture, content in sorted(answers.items())  # in one order: no deadlock
    ]
    if rows:
        insert_missing(session, StoredAnswer, rows)
        _keep_labels(session, answers, model, options)


def note_use(session: Session, pictures: Sequence[int], model: str, options: str) -> None:
    """Note that answers were used now."""
    session.execute(
        update(StoredAnswer)
        .where(
            StoredAnswer.picture_id.in_(pictures),
            StoredAnswer.model == model,
            StoredAnswer.options == options,
        )
        .values(used_at=datetime.now(UTC))
    )


def trim_answers(session: Session, most: int) -> int:
    """Remove the least recently used answers if there are too many; return how many."""
    count = session.scalar(select(func.count()).select_from(StoredAnswer)) or 0
    if count <= most:
        return 0
    surplus = count - round(most * (1 - SPARE))
    oldest = select(StoredAnswer.id).order_by(StoredAnswer.used_at, StoredAnswer.id).limit(surplus)
    session.execute(delete(StoredAnswer).where(StoredAnswer.id.in_(oldest)))
    return surplus


def _keep_labels(
    session: Session, answers: Mapping[int, Mapping[str, Any]], model: str, options: str
) -> None:
    """Write the labels of answers beside them, where the inspector's queue sorts them."""
    ids = session.execute(
        select(StoredAnswer.picture_id, StoredAnswer.id).where(
            StoredAnswer.picture_id.in_(list(answers)),
            StoredAnswer.model == model,
            StoredAnswer.options == options,
        )
    )
    rows = [
        {
            "answer_id": answer_id,
            "label": label,
            "picture_id": picture,
            "value": told["value"],
            "probability": told["probability"],
            "set_size": len(told["set"]),
        }
        for picture, answer_id in ids
        for label, told in answers[picture].get("labels", {}).items()
    ]
    if rows:
        insert_missing(session, AnswerLabel, rows)
