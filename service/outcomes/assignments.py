"""Hand out a candidate by a policy, and keep all that is needed to draw it again."""

import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from augrank.models.targets import Direction
from augrank.tasks.recommend.response import Answer
from service.answers.recommend import RecommendAnswer
from service.database.session import insert_missing
from service.database.tables import KEY, Assignment
from service.errors import Conflict, NotFound
from service.outcomes.open_assignments import OpenAssignments
from service.outcomes.policies import SEEDS, VERSION, Choices, Policy, PolicyName, draw
from service.outcomes.posterior import Belief


@dataclass(frozen=True)
class Wish:
    """How an assignment is to be made.

    Attributes:
        policy: to follow.
        who: asks.
        unit: recipient or campaign that gets the same candidate again; None: nobody comes again.
        seed: of the draw; None: a random one.
    """

    policy: Policy
    who: str
    unit: str | None = None
    seed: int | None = None


def add_assignment(
    session: Session, answer: RecommendAnswer, wish: Wish, open_ones: OpenAssignments
) -> Assignment:
    """Draw a candidate and keep it, unless the unit has one for this image, target and context.

    Of several at once for one unit, all get the first one's.

    Args:
        session: that writes.
        answer: for an advertiser.
        wish: how to draw.
        open_ones: bounds those without outcomes.

    Raises:
        TooManyRequests: too many of the advertiser have none.
    """
    scope = _scope(answer)
    if (kept := _kept_for(session, answer.advertiser, wish.unit, scope)) is not None:
        return kept
    open_ones.take(session, answer.advertiser)
    policy, choices = wish.policy, _choices(answer)
    seed = secrets.randbelow(SEEDS) if wish.seed is None else wish.seed
    drawn = draw(policy, choices, seed)
    propensities = drawn.propensities
    key = secrets.token_hex(KEY // 2)
    row = {
        "key": key,
        "advertiser": answer.advertiser,
        "sha256": answer.sha256,
        "model": answer.model_digest,
        "target": answer.target,
        "direction": answer.direction,
        "context": dict(answer.context),
        "policy": policy.name,
        "floor": policy.floor,
        "version": VERSION,
        "seed": seed,
        "candidates": [
            {**asdict(belief), "parameters": scored.parameters, "propensity": propensity}
            for belief, scored, propensity in zip(
                choices.candidates, answer.candidates, propensities, strict=True
            )
        ],
        "recommended": choices.recommended,
        "choice": choices.names[drawn.choice],
        "propensity": propensities[drawn.choice],
        "unit": wish.unit,
        "scope": scope,
        "who": wish.who,
        "at": datetime.now(UTC),
    }
    insert_missing(session, Assignment, [row])
    mine = session.scalar(select(Assignment).where(Assignment.key == key))
    # Another one was first with this unit: its row is there by now.
    kept = mine or _kept_for(session, answer.advertiser, wish.unit, scope)
    assert kept is not None
    return kept


def assignment_of(session: Session, advertiser: str, key: str) -> Assignment:
    """Return an assignment of an advertiser.

    Raises:
        NotFound: there is none.
    """
    found = session.scalar(
        select(Assignment).where(Assignment.key == key, Assignment.advertiser == advertiser)
    )
    if found is None:
        raise no_such_assignment(advertiser, key)
    return found


def no_such_assignment(advertiser: str, key: str) -> NotFound:
    """Return the error for an assignment that an advertiser does not have."""
    return NotFound(
        "there is no such assignment", expected=f"an assignment of {advertiser}", got=key
    )


def _choices(answer: Answer) -> Choices:
    return Choices(
        tuple(
            Belief(c.name, c.probability, c.interval, c.difference, c.difference_interval)
            for c in answer.candidates
        ),
        answer.direction,
        answer.best_candidate.name,
    )


def _scope(answer: RecommendAnswer) -> str:
    """Return what a unit's assignment is for: a digest of image, target and context."""
    text = json.dumps([answer.sha256, answer.target, answer.context], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _kept_for(session: Session, advertiser: str, unit: str | None, scope: str) -> Assignment | None:
    if unit is None:
        return None
    return session.scalar(
        select(Assignment).where(
            Assignment.advertiser == advertiser,
            Assignment.unit == unit,
            Assignment.scope == scope,
        )
    )


@dataclass(frozen=True)
class Replay:
    """A draw that was made again from the log.

    Attributes:
        choice: name of the candidate.
        propensities: of all candidates, in their order.
        same: whether both are, bit for bit, what was logged.
    """

    choice: str
    propensities: tuple[float, ...]
    same: bool


def replay(row: Assignment) -> Replay:
    """Draw an assignment again, from what was logged alone.

    Raises:
        Conflict: its propensities were computed by another version of the policies.
    """
    if row.version != VERSION:
        raise Conflict(
            "another version of the policies made this assignment",
            expected=f"version {VERSION}",
            got=str(row.version),
            remedy="Replay it with the release of augrank that made it.",
        )
    beliefs = tuple(
        Belief(
            each["name"],
            each["probability"],
            tuple(each["interval"]),
            each["difference"],
            tuple(each["difference_interval"]),
        )
        for each in row.candidates
    )
    choices = Choices(beliefs, cast(Direction, row.direction), row.recommended)
    drawn = draw(Policy(cast(PolicyName, row.policy), row.floor), choices, row.seed)
    again, choice = drawn.propensities, choices.names[drawn.choice]
    logged = tuple(each["propensity"] for each in row.candidates)
    same = (choice, again, again[drawn.choice]) == (row.choice, logged, row.propensity)
    return Replay(choice, again, same)
