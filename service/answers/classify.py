"""Classify images of an advertiser: kept answers first, then the model; fixes over both.

images ─ known? ─┬─ picture ─ kept answer ─┐
                 └─ decode ── picture ─────┼─ model, of those that are left ─ fixes ─ answer
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from augrank.errors import AugrankError, RequestError
from augrank.images.decode import DecodedImage, DecodeLimits
from augrank.models.tags import TagRules
from augrank.tasks.classify.request import DEFAULT_COVERAGE, DEFAULT_TOP
from augrank.tasks.classify.response import ImageAnswer
from augrank.tasks.isolation import isolated
from service.answers.effective import EffectiveAnswer, effective
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
from service.database.tables import StoredImage
from service.errors import AnswerExpired
from service.fixes.configured import configured_of
from service.fixes.history import HeldFix, fixes_that_hold
from service.images.pictures import (
    SeenImage,
    Sent,
    add_images,
    find_near,
    known_images,
    note_sightings,
    sent_before,
)
from service.images.store import ImageStore

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


@dataclass
class _Item:
    """One image on its way."""

    sha256: str | None = None
    picture: int | None = None
    file: dict[str, Any] = field(default_factory=dict)  # what the answer says of the file
    error: AugrankError | None = None
    refusal: Mapping[str, Any] | None = None  # the model's, as in its answer
    given_by_digest: bool = False
    decoded: DecodedImage | None = None  # for the model, in place of the file

    @classmethod
    def of(cls, image: bytes | str | RequestError) -> "_Item":
        """Return an image that was sent, or why there is none."""
        if isinstance(image, RequestError):
            return cls(error=image)
        if isinstance(image, str):
            return cls(image, given_by_digest=True)
        return cls(hashlib.sha256(image).hexdigest())

    def know(self, row: StoredImage | None) -> None:
        """Take what is known of the image."""
        if row is not None:
            self.picture = row.picture_id
            self.file = {
                "sha256": row.sha256,
                "width": row.width,
                "height": row.height,
                "format": row.format,
            }


@dataclass(frozen=True)
class _Found:
    """What is known of the pictures of a request."""

    pictures: Sequence[int]
    before: Sent  # what the advertiser has sent
    known: Mapping[int, tuple[str, Mapping[str, Any]]]  # model and answer, by picture
    stale: Sequence[int]  # answers whose use was noted long ago
    fixes: Mapping[int, Mapping[str, HeldFix]]
    configured: Mapping[str, str]  # by the advertiser


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
        items = [_Item.of(image) for image in images]
        with self.database.reads() as session:
            _know(session, items)
            unknown = _unknown(items, images)
            found = None if unknown else self._found(session, backend, request, items)
        for item, image in zip(items, images, strict=True):
            if item.picture is not None:
                self._keep(item, image)
        if found is None:
            self._add(backend, unknown)
            with self.database.reads() as session:
                found = self._found(session, backend, request, items)
        fresh = self._asked(backend, request, items, found.known.keys())
        new = sorted(set(_files(items)) - found.before.images.keys())
        fixes, own = found.fixes, found.configured
        if fresh or found.stale or new:
            with self.database.writes() as session:
                lock_pictures(session, found.pictures)  # all at once, in one order: no deadlock
                note_sightings(session, request.advertiser, new)
                keep_answers(session, list(fresh.values()), backend.model)
                if found.stale:
                    note_use(session, found.stale)
                # Again, so that what people said a moment ago is in the answer.
                fixes = fixes_that_hold(session, request.advertiser, found.pictures)
                own = _configured(session, request.advertiser)
            self._trim(len(fresh))
        elif any(item.refusal is not None for item in items):  # the model took its time, too
            with self.database.reads() as session:
                fixes = fixes_that_hold(session, request.advertiser, found.pictures)
                own = _configured(session, request.advertiser)
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
            for label, value in own.items()
            if label in tags and value in classes[label]
        }
        configured = {**own, **request.configured}
        return [_effective(item, answers, fixes, configured, tags, found.before) for item in items]

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

    def _add(self, backend: ClassifyBackend, unknown: Sequence[tuple[_Item, bytes]]) -> None:
        """Decode images that were never seen, and add them; items get why one cannot be read."""
        files = {item.sha256: data for item, data in unknown if item.sha256 is not None}
        seen = self._seen(backend, files)
        new = [each for each, _ in seen.values() if isinstance(each, SeenImage)]
        looks, rows = self.database.looks, dict[str, StoredImage]()
        if new:
            with self.database.reads() as session:
                near = find_near(session, looks, [each.look for each in new])
            with self.database.writes() as session:
                rows = add_images(session, looks, new, near)
        for item, data in unknown:
            image, item.decoded = seen[str(item.sha256)]
            if isinstance(image, AugrankError):
                if image.status >= INTERNAL:  # no fault of the image
                    raise image
                item.error = image
            else:
                item.know(rows[image.sha256])
                self._keep(item, data)

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
        items: Sequence[_Item],
    ) -> _Found:
        """Return what is known of the pictures of items."""
        model, options = backend.model, asdict(request.options)
        pictures = sorted({item.picture for item in items if item.picture is not None})
        before = sent_before(session, request.advertiser, pictures)
        sent = _questions(before.images, options)
        kept = kept_answers(session, model, sent, _questions(_files(items), options))
        known = {picture: (model, content) for picture, content in kept.content.items()}
        if asked_again := _by_digest_alone(items) - known.keys():
            again = {text: each for text, each in sent.items() if each in asked_again}
            known |= last_answers(session, again)
        fixes = fixes_that_hold(session, request.advertiser, pictures)
        configured = _configured(session, request.advertiser)
        return _Found(pictures, before, known, kept.stale, fixes, configured)

    def _keep(self, item: _Item, image: bytes | str | RequestError) -> None:
        """Keep a file that was sent, again if it had to make room for others."""
        if self._images is not None and item.sha256 and isinstance(image, bytes):
            self._images.add(item.sha256, image)

    def _asked(
        self,
        backend: ClassifyBackend,
        request: ClassifyRequest,
        items: Sequence[_Item],
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
        with self.database.writes() as session:
            trim_answers(session, self._max_answers)


def _configured(session: Session, advertiser: str) -> dict[str, str]:
    return configured_of(session, [advertiser]).get(advertiser, {})


def _know(session: Session, items: Sequence[_Item]) -> None:
    """Let items know the images that were seen before."""
    rows = known_images(session, {item.sha256 for item in items if item.sha256})
    for item in items:
        item.know(rows.get(item.sha256 or ""))


def _unknown(
    items: Sequence[_Item], images: Sequence[bytes | str | RequestError]
) -> list[tuple[_Item, bytes]]:
    """Return the items that were never seen, with their files."""
    return [
        (item, image)
        for item, image in zip(items, images, strict=True)
        if item.picture is None and isinstance(image, bytes)
    ]


def _files(items: Sequence[_Item]) -> dict[str, int]:
    return {item.sha256: item.picture for item in items if item.sha256 and item.picture is not None}


def _questions(files: Mapping[str, int], options: Mapping[str, Any]) -> dict[str, int]:
    """Return what may have been answered about files: pictures by question."""
    return {question_of(options, sha256): picture for sha256, picture in files.items()}


def _by_digest_alone(items: Sequence[_Item]) -> set[int]:
    """Return the pictures that no file of the request shows: an earlier model's answer will do."""
    shown = {item.picture for item in items if not item.given_by_digest}
    named = {item.picture for item in items if item.given_by_digest and item.picture is not None}
    return named - shown


def _effective(
    item: _Item,
    answers: Mapping[int, tuple[str, ImageAnswer]],
    fixes: Mapping[int, Mapping[str, HeldFix]],
    configured: Mapping[str, str],
    tags: TagRules,
    before: Sent,
) -> EffectiveAnswer:
    picture = item.picture or 0
    if picture not in answers:
        return _failed(item)
    model, answer = answers[picture]
    return effective(
        answer.model_copy(update=item.file),
        fixes.get(picture, {}),
        configured,
        tags,
        model=model,
        cached=picture in before.pictures,
    )


def _failed(item: _Item) -> EffectiveAnswer:
    if item.refusal is not None:
        return EffectiveAnswer(sha256=item.sha256, error=dict(item.refusal))
    error = item.error
    if error is None and item.given_by_digest:
        error = AnswerExpired(
            "the model's answer is not kept any more", remedy="Ask for the image again."
        )
    error = error or RequestError("the model could not read the image")
    return EffectiveAnswer(sha256=item.sha256, error=error.to_dict()["error"])
