"""Remember what was asked of a recommender: the history of an advertiser, and shared links."""

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from service.database.session import insert_or_update
from service.database.tables import Question
from service.errors import NotFound

TOKEN_BYTES = 16


def note_question(
    session: Session, advertiser: str, sha256: str, options: Mapping[str, Any], who: str
) -> str:
    """Note that a question was asked now; return its token, the same for the same question.

    Args:
        session: that writes.
        advertiser: who asked.
        sha256: of the image.
        options: of the question, in their canonical form.
        who: the person.
    """
    text = json.dumps([advertiser, sha256, options], sort_keys=True)
    digest, now = hashlib.sha256(text.encode()).hexdigest(), datetime.now(UTC)
    row = {
        "token": secrets.token_urlsafe(TOKEN_BYTES),
        "digest": digest,
        "advertiser": advertiser,
        "sha256": sha256,
        "options": dict(options),
        "who": who,
        "at": now,
    }
    noted = insert_or_update(session, Question, row, key="digest", new=("at", "who"), told="token")
    return str(noted)


def trim_questions(session: Session, most: int) -> None:
    """Remove the oldest questions of every advertiser who has more than so many."""
    counted = select(Question.advertiser, func.count()).group_by(Question.advertiser)
    for advertiser, count in session.execute(counted.having(func.count() > most)).all():
        oldest = select(Question.token).where(Question.advertiser == advertiser)
        oldest = oldest.order_by(Question.at, Question.token).limit(count - most)
        session.execute(delete(Question).where(Question.token.in_(oldest)))


def question_of(session: Session, token: str, advertiser: str | None = None) -> Question:
    """Return a question.

    Args:
        session: that reads.
        token: of the question.
        advertiser: whose it is; None: anybody's.

    Raises:
        NotFound: there is none with this token, or it is another's.
    """
    found = session.get(Question, token)
    if found is None or advertiser not in (None, found.advertiser):
        raise NotFound(
            "there is no such question",
            expected="the link as it was shared",
            got=token[:40],
            remedy="Ask for the link again, or ask the question anew.",
        )
    return found


def history(
    session: Session, advertiser: str, before: str | None = None, most: int = 20
) -> list[Question]:
    """Return the questions of an advertiser, those asked last first.

    Args:
        session: that reads.
        advertiser: whose they are.
        before: token of a question: only those asked before it.
        most: how many.
    """
    query = select(Question).where(Question.advertiser == advertiser)
    if before is not None:
        last = question_of(session, before, advertiser)
        earlier = and_(Question.at == last.at, Question.token < last.token)
        query = query.where(or_(Question.at < last.at, earlier))
    return list(
        session.scalars(query.order_by(Question.at.desc(), Question.token.desc()).limit(most))
    )
