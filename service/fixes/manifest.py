"""Fixes as a Ground Truth manifest: what people say of each picture that one of them corrected.

A label is there if a person has corrected it, or has confirmed the class that the model says. What
only the model says is left out, with one exception: the format of a multi-label attribute cannot
leave a class open. There the model's word stands for what no person has said, and the attribute is
not ``human-annotated``. If an answer that says it is not kept, the attribute is left out.
"""

import logging
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, and_, select, tuple_
from sqlalchemy.orm import Session

from augrank.manifest.ground_truth_format import NO, YES
from augrank.manifest.ground_truth_writer import Annotation, ground_truth_line, question_of
from service.database.entries import LAST
from service.database.session import Database
from service.database.tables import CurrentFix, Fix, QueueEntry, Review

log = logging.getLogger("augrank.service")
CHUNK = 500  # pictures that are read at once
JOB = "augrank-fixes"  # the labelling job
Key = tuple[str, int]  # advertiser and picture


@dataclass(frozen=True)
class Manifest:
    """What a manifest is made of.

    Attributes:
        advertiser: whose fixes; None: all.
        source: prefix of the images, before ``ab/abcd...``.
        classes: of each label of the model, whose numbers are kept; others come after them.
        model: digest of the model that answers now, whose answer counts of several about a
            picture; None: the last answer counts.
    """

    advertiser: str | None
    source: str
    classes: Mapping[str, Sequence[str]]
    model: str | None


@dataclass(frozen=True)
class _Word:
    """What is said of a label of a picture.

    Attributes:
        value: the class.
        at: when a person said so; None: the model says so.
        probability: of the class; 1 if a person said so.
    """

    value: str
    at: datetime | None
    probability: float = 1.0

    def annotation(self, classes: Sequence[str], at: datetime | None = None) -> Annotation:
        """Return it as an annotation, of the time ``at`` if the model says so."""
        created = self.at or at
        assert created is not None
        return Annotation(
            name=self.value,
            classes=classes,
            confidence=self.probability,
            human=self.at is not None,
            created=created.astimezone(UTC).isoformat(timespec="seconds"),
            job=JOB,
        )


Words = Mapping[str, _Word]  # by label


def manifest_lines(database: Database, manifest: Manifest) -> Iterator[str]:
    """Yield a line, with its end, for each picture of an advertiser with a fix that holds.

    The pictures whose attributes had to be left out are counted in the log.
    """
    labels = _Labels(manifest.classes, _numbers(database, manifest))
    after: Key | None = None
    while True:
        with database.reads() as session:
            fixes = _next_fixes(session, manifest.advertiser, after)
            pictures = {_key(fix) for fix in fixes}
            told = _told(session, pictures, manifest.model)
            confirmed = _confirmed(session, pictures, told)
        for key, group in groupby(fixes, _key):
            own = list(group)
            said = confirmed[key] | {fix.label: _Word(str(fix.after), fix.at) for fix in own}
            sha256 = max(own, key=lambda fix: fix.id).sha256
            image = f"{manifest.source}{sha256[:2]}/{sha256}"
            if annotations := labels.annotations(said, told[key]):
                yield ground_truth_line(image, annotations) + "\n"
            after = key
        if not fixes:
            break
    for attribute, count in labels.left_out.items():
        log.warning(
            "%r is left out of the manifest for %d pictures: neither a person nor a kept answer "
            "tells each of its classes; classify them again",
            attribute,
            count,
        )


def _numbers(database: Database, manifest: Manifest) -> dict[str, list[str]]:
    """Return the classes of each label: those given, then those that fixes have beside them."""
    classes = {label: list(names) for label, names in manifest.classes.items()}
    query = select(CurrentFix.label, CurrentFix.value).distinct()
    if manifest.advertiser is not None:
        query = query.where(CurrentFix.advertiser == manifest.advertiser)
    with database.reads() as session:
        rows = session.execute(query.order_by(CurrentFix.label, CurrentFix.value)).all()
    for label, value in rows:
        if value not in classes.setdefault(label, []):
            classes[label].append(value)
    return classes


def _next_fixes(session: Session, advertiser: str | None, after: Key | None) -> list[Fix]:
    """Return the fixes that hold about the next pictures, in their order."""
    key = CurrentFix.advertiser, CurrentFix.picture_id
    pictures = select(*key).distinct().order_by(*key).limit(CHUNK)
    if advertiser is not None:
        pictures = pictures.where(CurrentFix.advertiser == advertiser)
    if after is not None:
        pictures = pictures.where(tuple_(*key) > after)
    chosen = pictures.subquery()
    query = (
        select(Fix)
        .join(CurrentFix, CurrentFix.fix_id == Fix.id)
        .join(
            chosen,
            and_(
                chosen.c.advertiser == CurrentFix.advertiser,
                chosen.c.picture_id == CurrentFix.picture_id,
            ),
        )
        .order_by(*key, CurrentFix.label)
    )
    return list(session.scalars(query))


def _told(
    session: Session, pictures: Collection[Key], model: str | None
) -> defaultdict[Key, dict[str, _Word]]:
    """Return what the model says: in its last answer that is kept, else in that of another one."""
    query = select(
        QueueEntry.advertiser,
        QueueEntry.picture_id,
        QueueEntry.label,
        QueueEntry.model,
        QueueEntry.value,
        QueueEntry.probability,
    ).where(*_among(QueueEntry, pictures), QueueEntry.lane.in_([LAST, model or LAST]))
    found = defaultdict[Key, dict[str, _Word]](dict)
    for row in session.execute(query):
        words = found[_key(row)]
        if row.model == model or row.label not in words:
            words[row.label] = _Word(row.value, None, row.probability)
    return found


def _confirmed(
    session: Session, pictures: Collection[Key], told: Mapping[Key, Words]
) -> defaultdict[Key, dict[str, _Word]]:
    """Return the classes that people have confirmed, as long as the model says the same.

    That a default is right in place of a class says nothing of the class.
    """
    query = select(Review).where(
        *_among(Review, pictures), Review.undone_at.is_(None), Review.answer_id.is_(None)
    )
    found = defaultdict[Key, dict[str, _Word]](dict)
    for review in session.scalars(query.order_by(Review.id)):
        word = told.get(_key(review), {}).get(review.label)
        if word is not None and word.value == review.value:
            found[_key(review)][review.label] = _Word(word.value, review.at)
    return found


def _among(
    table: type[QueueEntry] | type[Review], pictures: Collection[Key]
) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (
        table.picture_id.in_(sorted({picture for _, picture in pictures})),
        table.advertiser.in_(sorted({advertiser for advertiser, _ in pictures})),
    )


def _key(row: Any) -> Key:
    return row.advertiser, row.picture_id


@dataclass
class _Labels:
    """The labels of a manifest, whose classes have the same numbers in every line.

    Attributes:
        of_model: the labels that the model has; none if they are not known.
        classes: of each label that the model has or a person has corrected, by number; those that
            turn up later are added.
        left_out: pictures without an attribute that a person has corrected, by attribute.
    """

    of_model: Collection[str]
    classes: dict[str, list[str]]
    left_out: dict[str, int] = field(default_factory=dict)

    def annotations(self, said: Words, told: Words) -> dict[str, Annotation]:
        """Return the labels of a line.

        Args:
            said: by people.
            told: by the model.
        """
        for label, word in (*told.items(), *said.items()):
            if not self.of_model:
                self.classes.setdefault(label, [])
            if word.value not in self.classes.get(label, [word.value]):
                self.classes[label].append(word.value)
        questions = defaultdict[str, list[str]](list)  # by multi-label attribute
        found: dict[str, Annotation] = {}
        for label, classes in self.classes.items():
            if question := question_of(label, classes):
                questions[question[0]].append(label)
            elif label in said:
                found[label] = said[label].annotation(classes)
        for attribute, labels in questions.items():
            if any(label in said for label in labels):
                found |= self._several(attribute, labels, said, told)
        return found

    def _several(
        self, attribute: str, labels: Sequence[str], said: Words, told: Words
    ) -> dict[str, Annotation]:
        """Return the questions of a multi-label attribute; none if nobody answers one of them."""
        words = {**told, **said}
        asked = [label for label in labels if label in (self.of_model or told)]
        if not asked or any(label not in words for label in asked):
            self.left_out[attribute] = self.left_out.get(attribute, 0) + 1
            return {}
        last = max(word.at for label in labels if (word := said.get(label)) and word.at)
        # A class that the model does not have is not there, but no person has said so.
        absent = _Word(NO, None)
        return {each: words.get(each, absent).annotation((NO, YES), last) for each in labels}
