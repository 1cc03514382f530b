"""Outcomes as rows of a manifest, which ``python -m training fit`` reads.

A row is an assignment with outcomes: the file of the unchanged image, the augmentation that was
shown, the context, and for each target the sum of its reports. Training makes the candidate from
the file, as it does for every original whose row names an augmentation. Where two models gave one
name to different augmentations, the one that was assigned last keeps the name, and the others get a
hash behind it: ``brighter.3f2a``. ``propensity`` is a further column, which training ignores.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, Select, Subquery, func, select
from sqlalchemy.orm import Session, aliased

from augrank.contracts.manifest import AUGMENTATION, ORIGINAL_FILE, PATH, SUCCESSES, TRIALS
from augrank.images.augmentations import ORIGINAL
from service.database.tables import Assignment, Outcome, StoredImage

IMAGES = "images"  # folder of the files, beside the manifest
PROPENSITY = "propensity"
ROWS_AT_ONCE = 1_000
HASH_DIGITS = 4


@dataclass
class Contents:
    """What the rows of a manifest hold.

    Attributes:
        context: columns.
        targets: with outcomes.
        augmentations: steps as JSON, to the name in the manifest.
        images: files by sha256, relative to the manifest.
    """

    context: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    augmentations: dict[tuple[str, str], str] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)

    @property
    def header(self) -> list[str]:
        """The columns."""
        counts = [name + ending for name in self.targets for ending in (SUCCESSES, TRIALS)]
        return [PATH, *self.context, AUGMENTATION, ORIGINAL_FILE, *counts, PROPENSITY]

    def augmentation_set(self) -> dict[str, Any]:
        """Return the augmentations as ``training fit --augmentations`` reads them."""
        steps = {name: json.loads(text) for (_, text), name in self.augmentations.items()}
        return {
            "name": "shown",
            "augmentations": [
                {"name": name, "steps": steps[name]} for name in sorted(steps) if name != ORIGINAL
            ],
        }


def contents_of(session: Session, advertiser: str | None) -> Contents:
    """Look through assignments with outcomes.

    Args:
        session: that reads.
        advertiser: whose they are; None: of all.
    """
    columns = select(
        Assignment.sha256, StoredImage.format, Assignment.context, Assignment.candidates
    )
    context: set[str] = set()
    named: dict[str, dict[str, None]] = {}  # the steps of each name, the last ones last
    images: dict[str, str] = {}
    for sha256, kind, values, candidates in session.execute(_with_outcomes(columns, advertiser)):
        context |= set(values)
        images[sha256] = f"{IMAGES}/{sha256}.{kind.lower()}"
        for each in candidates:
            steps = named.setdefault(each["name"], {})
            text = _text(each["parameters"])
            steps.pop(text, None)
            steps[text] = None
    targets = select(Outcome.target).join(Assignment).distinct().order_by(Outcome.target)
    if advertiser is not None:
        targets = targets.where(Assignment.advertiser == advertiser)
    reserved = {PATH, AUGMENTATION, ORIGINAL_FILE, PROPENSITY}
    return Contents(
        tuple(sorted(context - reserved)),
        tuple(session.scalars(targets)),
        {(n, text): shown for n, steps in named.items() for text, shown in _names(n, list(steps))},
        images,
    )


def rows_of(
    session: Session, advertiser: str | None, contents: Contents
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a manifest, in the order of the assignments.

    Args:
        session: that reads.
        advertiser: whose they are; None: of all.
        contents: the result of ``contents_of``; what came since then is left out.
    """
    sums = _sums()
    columns = select(
        Assignment.id,
        Assignment.sha256,
        Assignment.context,
        Assignment.candidates,
        Assignment.choice,
        Assignment.propensity,
        sums.c.target,
        sums.c.successes,
        sums.c.trials,
    ).join(sums, sums.c.assignment_id == Assignment.id)
    query = _of(columns, advertiser).order_by(Assignment.id, sums.c.target)
    found = session.execute(query.execution_options(yield_per=ROWS_AT_ONCE))
    for _, rows in itertools.groupby(found, key=lambda row: row.id):
        row = _row(list(rows), contents)
        if row is not None:
            yield row


def _row(rows: Sequence[Row[Any]], contents: Contents) -> dict[str, Any] | None:
    """Return the manifest's row of an assignment, whose rows are its targets."""
    first = rows[0]
    shown = next(each for each in first.candidates if each["name"] == first.choice)
    name = contents.augmentations.get((first.choice, _text(shown["parameters"])))
    if first.sha256 not in contents.images or name is None:
        return None
    counts: dict[str, Any] = {}
    for row in rows:
        if row.trials:  # without any, nothing was measured
            counts |= {row.target + SUCCESSES: row.successes, row.target + TRIALS: row.trials}
    return {
        **{column: value for column, value in first.context.items() if value is not None},
        PATH: contents.images[first.sha256],
        AUGMENTATION: name,
        ORIGINAL_FILE: "",  # the file is the original: training makes the candidate from it
        **counts,
        PROPENSITY: first.propensity,
    }


def _sums() -> Subquery:
    """Return the sums of the reports that no other one replaces, by assignment and target."""
    later = aliased(Outcome)
    replaced = select(later.id).where(
        later.assignment_id == Outcome.assignment_id,
        later.target == Outcome.target,
        later.replaces == Outcome.report,
    )
    return (
        select(
            Outcome.assignment_id,
            Outcome.target,
            func.sum(Outcome.successes).label("successes"),
            func.sum(Outcome.trials).label("trials"),
        )
        .where(~replaced.exists())
        .group_by(Outcome.assignment_id, Outcome.target)
        .subquery()
    )


def _with_outcomes(columns: Select[Any], advertiser: str | None) -> Select[Any]:
    reported = select(Outcome.id).where(Outcome.assignment_id == Assignment.id)
    query = columns.join(StoredImage, StoredImage.sha256 == Assignment.sha256)
    query = _of(query.where(reported.exists()), advertiser).order_by(Assignment.id)
    return query.execution_options(yield_per=ROWS_AT_ONCE)


def _of(query: Select[Any], advertiser: str | None) -> Select[Any]:
    return query if advertiser is None else query.where(Assignment.advertiser == advertiser)


def _names(name: str, steps: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Return the name of each of the steps that go by one; the last ones keep it."""
    for text in steps[:-1]:
        digest = hashlib.sha256(text.encode()).hexdigest()
        yield text, f"{name}.{digest[:HASH_DIGITS]}"
    yield steps[-1], name


def _text(parameters: Any) -> str:
    return json.dumps(parameters, sort_keys=True)
