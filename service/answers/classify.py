"""Classify images of an advertiser: kept answers first, then the model; fixes over both.

images ─ known? ─┬─ picture ─ kept answer ─┐
                 └─ decode ── picture ─────┼─ model, of those that are left ─ fixes ─ answer
"""

import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from augrank.errors import AugrankError, RequestError
from augrank.images.decode import DecodedImage, DecodeLimits
from augrank.models.tags import TagRules
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP
from augrank.tasks.classify.response import ImageAnswer
from augrank.tasks.isolation import isolated
from service.answers.effective import EffectiveAnswer, effective
from service.answers.items import (
    Item,
    NewImages,
    by_digest_alone,
    files_of,
    know,
    pictures_of,
    unknown,
)
from service.answers.kept import (
    NewAnswer,
    keep_answers,
    kept_answers,
    last_answers,
    note_use,
    question_of,
    trim_answers,
)
from service.backends.classify import ClassifyBackend, ClassifyOptions
from service.backends.live import Live
from service.database.entries import lock_pictures
from service.database.session import Database, again_if_forgotten
from service.errors import AnswerExpired
from service.fixes.configured import configured_of
from service.fixes.history import HeldFix, fixes_that_hold
from service.images.pictures import (
    SeenImage,
    Sent,
    known_images,
    note_sightings,
    sent_before,
)
from service.images.store import ImageStore

Answered = TypeVar("Answered")
TRIM_EVERY = 200  # new answers
INTERNAL = 500


@dataclass(frozen=True)
class ClassifyRequest:
    """Images of one advertiser."""

    advertiser: str
    # Files; digests of images that were seen and have an answer; or why one could not be had.
    images: tuple[bytes | str | RequestError, ...]
    options: ClassifyOptions
    configured: Mapping[str, str]  # values of this request, by label


@dataclass(frozen=True)
class _Said:
    """What people said of the pictures of a request."""

    fixes: Mapping[int, Mapping[str, HeldFix]]  # by picture and label
    configured: Mapping[str, str]  # by the advertiser


@dataclass(frozen=True)
class _Found:
    """What is known of the pictures of a request."""

    before: Sent  # what the advertiser has sent
    known: Mapping[int, tuple[str, Mapping[str, Any]]]  # model and answer, by picture
    stale: Sequence[int]  # answers whose use was noted long ago
    said: _Said


class ClassifyService:
    """Answers requests. Thread-safe.

    Args:
        database: for answers and fixes.
        backend: the model, until ``live`` gets another one.
        images: where the files are kept; None: nowhere.
        limits: larger images are rejected.
        max_answers: that are kept.
        trim_every: new answers, after which it is looked whether there are too many.
    """

    def __init__(
        self,
        database: Database,
        backend: ClassifyBackend,
        images: ImageStore | None = None,
        limits: DecodeLimits = DecodeLimits(),
        max_answers: int = 1_000_000,
        trim_every: int = TRIM_EVERY,
    ) -> None:
        self.database, self.live, self._images = database, Live(backend), images
        self._limits, self._max_answers, self._trim_every = limits, max_answers, trim_every
        self._added, self._counting = 0, threading.Lock()
        # Told what an advertiser got: the digest of the model that answered, by picture.
        self.on_answers: Callable[[str, Mapping[int, str]], None] | None = None

    @property
    def backend(self) -> ClassifyBackend:
        """The model that answers now."""
        return self.live.current

    @again_if_forgotten
    def __call__(self, request: ClassifyRequest) -> list[EffectiveAnswer]:
        """Answer a request, image by image; one that cannot be read has its reason."""
        backend, images = self.live.current, request.images
        items = [Item.of(image) for image in images]
        with self.database.reads() as session:
            know(session, items)
            unseen = unknown(items, images)
            found = None if unseen else self._found(session, backend, request, items)
        for item, image in zip(items, images, strict=True):
            if item.picture is not None:
                self._keep(item, image)
        new = NewImages()
        if found is None:
            seen = self._look(backend, unseen)
            with self.database.reads() as session:
                new = NewImages.of(session, self.database.looks, seen)
                new.number(items)
                found = self._found(session, backend, request, items)
        fresh = self._asked(backend, request, items, found.known.keys())
        unsent = files_of(items).keys() - found.before.images.keys()
        if fresh or found.stale or unsent or new.seen:
            with self.database.writes() as session:
                numbers, added = new.add(session, self.database.looks, items)
                fresh = {
                    number: replace(answer, picture=number)
                    for number, answer in _renumbered(fresh, numbers).items()
                }
                known = _renumbered(found.known, numbers)
                # All at once, in one order: no deadlock.
                lock_pictures(session, pictures_of(items))
                note_sightings(session, request.advertiser, sorted(unsent), added)
                keep_answers(session, list(fresh.values()), backend.model)
                if found.stale:
                    note_use(session, found.stale)
                # Again, so that what people said a moment ago is in the answer.
                said = _said(session, request.advertiser, items)
                found = replace(found, known=known, said=said)
            self._trim(len(fresh))
        elif any(item.refusal is not None for item in items):  # the model took its time, too
            with self.database.reads() as session:
                found = replace(found, said=_said(session, request.advertiser, items))
        return self._told(backend, request, items, found, fresh)

    def _told(
        self,
        backend: ClassifyBackend,
        request: ClassifyRequest,
        items: Sequence[Item],
        found: _Found,
        fresh: Mapping[int, NewAnswer],
    ) -> list[EffectiveAnswer]:
        """Return what the advertiser gets; tell ``on_answers``."""
        answers = {
            picture: (digest, ImageAnswer.model_validate(content))
            for picture, (digest, content) in found.known.items()
        } | {
            picture: (backend.model, ImageAnswer.model_validate(each.content))
            for picture, each in fresh.items()
        }
        if self.on_answers is not None:
            told = {picture: digest for picture, (digest, _) in answers.items()}
            self.on_answers(request.advertiser, told)
        tags, classes = backend.tags, backend.labels
        own = {  # that this model knows
            label: value
            for label, value in found.said.configured.items()
            if label in tags and value in classes[label]
        }
        said = _Said(found.said.fixes, {**own, **request.configured})
        return [_effective(item, answers, said, tags, found.before) for item in items]

    def answered(
        self, advertiser: str, digests: Sequence[str], options: ClassifyOptions
    ) -> set[str]:
        """Return those of some images of an advertiser that have an answer of this model."""
        with self.database.reads() as session:
            rows = known_images(session, digests).values()
            pictures = {row.sha256: row.picture_id for row in rows}
            before = sent_before(session, advertiser, sorted(set(pictures.values())))
            groups = [_questions(files, asdict(options)) for files in (before.images, pictures)]
            kept = kept_answers(session, self.live.current.model, *groups)
        return {digest for digest, picture in pictures.items() if picture in kept.content}

    def _look(
        self, backend: ClassifyBackend, unseen: Sequence[tuple[Item, bytes]]
    ) -> list[SeenImage]:
        """Decode images that were never seen, and keep them; items get why one cannot be read."""
        files = {item.sha256: data for item, data in unseen if item.sha256 is not None}
        seen = self._seen(backend, files)
        for item, data in unseen:
            image, item.decoded = seen[str(item.sha256)]
            if isinstance(image, SeenImage):
                self._keep(item, data)
            elif image.status >= INTERNAL:  # no fault of the image
                raise image
            else:
                item.error = image
        return [each for each, _ in seen.values() if isinstance(each, SeenImage)]

    def _seen(
        self, backend: ClassifyBackend, files: Mapping[str, bytes]
    ) -> dict[str, tuple[SeenImage | AugrankError, DecodedImage | None]]:
        """Look at files, by sha256: what was seen of each, and what is left for the model."""
        decoded = backend.decode(files, self._limits)
        if decoded is None:
            return {
                digest: (isolated(SeenImage.of, digest, data, self._limits), None)
                for digest, data in files.items()
            }
        return {
            digest: (each, None)
            if isinstance(each, AugrankError)
            else (SeenImage.decoded(each), each)
            for digest, each in zip(files, decoded, strict=True)
        }

    def _found(
        self,
        session: Session,
        backend: ClassifyBackend,
        request: ClassifyRequest,
        items: Sequence[Item],
    ) -> _Found:
        """Return what is known of the pictures of items."""
        model, options = backend.model, asdict(request.options)
        before = sent_before(session, request.advertiser, pictures_of(items))
        sent = _questions(before.images, options)
        kept = kept_answers(session, model, sent, _questions(files_of(items), options))
        known = {picture: (model, content) for picture, content in kept.content.items()}
        if asked_again := by_digest_alone(items) - known.keys():
            again = {text: each for text, each in sent.items() if each in asked_again}
            known |= last_answers(session, again)
        return _Found(before, known, kept.stale, _said(session, request.advertiser, items))

    def _keep(self, item: Item, image: bytes | str | RequestError) -> None:
        """Keep a file that was sent, again if it had to make room for others."""
        if self._images is not None and item.sha256 and isinstance(image, bytes):
            self._images.add(item.sha256, image)

    def _asked(
        self,
        backend: ClassifyBackend,
        request: ClassifyRequest,
        items: Sequence[Item],
        known: Set[int],
    ) -> dict[int, NewAnswer]:
        """Ask the model about pictures without an answer, each once; items get its refusals."""
        wanted: dict[int, tuple[str, bytes | DecodedImage]] = {}
        for item, image in zip(items, request.images, strict=True):
            if item.picture is None or item.picture in known | wanted.keys():
                continue
            data = self._stored(image) if isinstance(image, str) else item.decoded or image
            if isinstance(data, bytes | DecodedImage) and item.sha256:
                wanted[item.picture] = item.sha256, data
        if not wanted:
            return {}
        answer = backend.classify([data for _, data in wanted.values()], request.options)
        told = dict(zip(wanted, answer.images, strict=True))
        for item in items:
            if item.picture in told:
                item.refusal = told[item.picture].error
        options = request.options
        # Inspectors choose among as many classes, and see the same sets, whoever has asked.
        usual = options.coverage == DEFAULT_COVERAGE and options.top >= DEFAULT_TOP
        fresh = {}
        for picture, each in told.items():
            if each.error is None:
                sha256 = wanted[picture][0]
                question = question_of(asdict(options), sha256)
                content = each.model_dump(mode="json")
                fresh[picture] = NewAnswer(
                    picture, sha256, question, content, request.advertiser, listed=usual
                )
        return fresh

    def _stored(self, sha256: str) -> bytes | None:
        return self._images.read(sha256) if self._images is not None else None

    def _trim(self, added: int) -> None:
        with self._counting:
            self._added += added
            if self._added < self._trim_every:
                return
            self._added = 0
        trim_answers(self.database, self._max_answers)


def _said(session: Session, advertiser: str, items: Sequence[Item]) -> _Said:
    """Return what people said, as of now."""
    fixes = fixes_that_hold(session, advertiser, pictures_of(items))
    return _Said(fixes, configured_of(session, [advertiser]).get(advertiser, {}))


def _renumbered(answers: Mapping[int, Answered], numbers: Mapping[int, int]) -> dict[int, Answered]:
    """Return answers by the pictures' ids; the first one where two are about the same picture."""
    renumbered = dict[int, Answered]()
    for picture, answer in answers.items():
        renumbered.setdefault(numbers.get(picture, picture), answer)
    return renumbered


def _questions(files: Mapping[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    """Return what may have been answered about files: pictures by question."""
    return {question_of(options, sha256): picture for sha256, picture in files.items()}


def _effective(
    item: Item,
    answers: Mapping[int, tuple[str, ImageAnswer]],
    said: _Said,
    tags: TagRules,
    before: Sent,
) -> EffectiveAnswer:
    picture = item.picture or 0
    if picture not in answers:
        return _failed(item)
    model, answer = answers[picture]
    return effective(
        answer.model_copy(update=item.file),
        said.fixes.get(picture, {}),
        said.configured,
        tags,
        model=model,
        cached=picture in before.pictures,
    )


def _failed(item: Item) -> EffectiveAnswer:
    if item.refusal is not None:
        return EffectiveAnswer(sha256=item.sha256, error=dict(item.refusal))
    error = item.error
    if error is None and item.given_by_digest:
        error = AnswerExpired(
            "the model's answer is not kept any more", remedy="Ask for the image again."
        )
    error = error or RequestError("the model could not read the image")
    return EffectiveAnswer(sha256=item.sha256, error=error.to_dict()["error"])
