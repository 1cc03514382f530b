"""Recommend versions of an advertiser's image: kept answers first, then the model.

file, digest or catalogue path ─ picture ─ kept answer ─┬─ question noted ─ answer
                                 └─ model ─ kept ───────┘
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import Field
from sqlalchemy.orm import Session

from augrank.images.decode import DecodeLimits
from augrank.tasks.recommend.response import Answer, ImageInfo, Timings
from service.answers.kept import (
    KeptAnswers,
    NewAnswer,
    keep_answers,
    kept_answers,
    note_use,
    question_of,
    trim_answers,
)
from service.answers.questions import note_question, trim_questions
from service.backends.live import Live
from service.backends.recommend import RecommendBackend, RecommendOptions
from service.database.session import Database, again_if_forgotten
from service.database.tables import Question, StoredImage
from service.errors import ImageExpired
from service.fixes.history import one_at_a_time
from service.images.arrivals import sent_image, take_in
from service.images.pictures import Sent, note_sightings, sent_before
from service.images.store import ImageStore

TASK = "recommend"
TRIM_EVERY = 200  # requests that keep something, after which it is looked whether it is much


@dataclass(frozen=True)
class SentBefore:
    """An image that the advertiser has sent before."""

    sha256: str


@dataclass(frozen=True)
class OfCatalogue:
    """An image of the catalogue."""

    path: str


@dataclass(frozen=True)
class RecommendRequest:
    """An image of one advertiser, and what is asked about it."""

    advertiser: str
    image: bytes | SentBefore | OfCatalogue
    options: RecommendOptions
    who: str = ""  # the person, for the history
    noted: bool = True  # in the history


class RecommendAnswer(Answer, frozen=True):
    """A recommendation, and where to find it again."""

    advertiser: str
    sha256: str = Field(description="Of the image: ask about it again without sending the file.")
    model_digest: str = Field(description="sha256 of the model's bundle.json.")
    question: str = Field(description="Token of the question, if it was noted: /q/TOKEN.")
    cached: bool = Field(False, description="This advertiser had sent the picture before.")


class RecommendService:
    """Answers requests. Thread-safe.

    Args:
        database: for answers and questions.
        backend: the model, until ``live`` gets another one.
        images: where the files are kept.
        limits: larger images are rejected.
        max_answers: that are kept, of all tasks.
        max_questions: that are kept, of one advertiser.
    """

    def __init__(
        self,
        database: Database,
        backend: RecommendBackend,
        images: ImageStore,
        limits: DecodeLimits = DecodeLimits(),
        max_answers: int = 1_000_000,
        max_questions: int = 100_000,
    ) -> None:
        self.database, self.live, self._images = database, Live(backend), images
        self._limits, self._trim_every = limits, TRIM_EVERY
        self._max_answers, self._max_questions = max_answers, max_questions
        self._added, self._lock = 0, threading.Lock()

    @property
    def backend(self) -> RecommendBackend:
        """The model that answers now."""
        return self.live.current

    @again_if_forgotten
    def __call__(self, request: RecommendRequest) -> RecommendAnswer:
        """Answer a request, and note its question unless it is not to be noted.

        Raises:
            RequestError: the image or an option does not fit.
        """
        backend = self.live.current
        options = backend.canonical(request.options)  # before the image is looked at
        image, data = self._image(backend, request)
        return self._answer(backend, image, data, replace(request, options=options))

    def again(self, question: Question, who: str = "") -> RecommendAnswer:
        """Answer a question that was asked before, without noting it.

        Raises:
            ImageExpired: neither the answer nor the image is kept any more.
            RequestError: the model that answers now does not know an option.
        """
        backend = self.live.current
        options = backend.canonical(options_of(question))
        with self.database.reads() as session:
            image = sent_image(session, question.advertiser, question.sha256)
        asked = SentBefore(question.sha256)
        request = RecommendRequest(question.advertiser, asked, options, who, noted=False)
        answer = self._answer(backend, image, None, request)
        return answer.model_copy(update={"question": question.token})

    def _image(
        self, backend: RecommendBackend, request: RecommendRequest
    ) -> tuple[StoredImage, bytes | None]:
        """Return what is known of a request's image, and its file if that was given."""
        image = request.image
        if isinstance(image, SentBefore):
            with self.database.reads() as session:
                return sent_image(session, request.advertiser, image.sha256), None
        data = backend.catalogue.best(image.path) if isinstance(image, OfCatalogue) else image
        return take_in(self.database, self._images, self._limits, data), data

    def _answer(
        self,
        backend: RecommendBackend,
        image: StoredImage,
        data: bytes | None,
        request: RecommendRequest,
    ) -> RecommendAnswer:
        """Answer about an image that is known, with canonical options."""
        started = time.perf_counter()
        advertiser, model, picture = request.advertiser, backend.model, image.picture_id
        asked = _options_json(request.options)
        key = {**asked, "task": TASK}
        own = question_of(key, image.sha256)
        with self.database.reads() as session:
            before = sent_before(session, advertiser, [picture])
            kept = self._kept(session, backend, image, key, before)
        content = kept.content.get(picture)
        fresh = None
        if content is None:
            fresh = backend.recommend(self._file(image, data), request.options)
            content = fresh.model_dump(mode="json")
        token, new = "", image.sha256 not in before.images
        if request.noted or fresh is not None or kept.stale or new:
            with self.database.writes() as session:
                if new:
                    note_sightings(session, advertiser, [image.sha256])
                if fresh is not None:
                    one_at_a_time(session, picture)
                    new_answer = NewAnswer(picture, image.sha256, own, content, advertiser)
                    keep_answers(session, [new_answer], model)
                    # If another one was kept a moment ago, all get that one from now on.
                    sent = sent_before(session, advertiser, [picture])
                    content = self._kept(session, backend, image, key, sent).content[picture]
                if kept.stale:
                    note_use(session, kept.stale)
                if request.noted:
                    token = note_question(session, advertiser, image.sha256, asked, request.who)
            self._trim()
        total_ms = round(1e3 * (time.perf_counter() - started), 3)
        return RecommendAnswer.model_validate(
            {
                **content,
                "timings_ms": Timings(total=total_ms),  # stages would tell that others have asked
                "image": ImageInfo.model_validate(image, from_attributes=True),
                "advertiser": advertiser,
                "sha256": image.sha256,
                "model_digest": model,
                "question": token,
                "cached": picture in before.pictures,
            }
        )

    @staticmethod
    def _kept(
        session: Session,
        backend: RecommendBackend,
        image: StoredImage,
        key: Mapping[str, Any],
        sent: Sent,
    ) -> KeptAnswers:
        """Return the answer about an image, or about another file of its picture that was sent."""
        own = {question_of(key, image.sha256): image.picture_id}
        # Of an image of the catalogue more is known than of others that show the same picture.
        others = {*sent.images} - backend.catalogue.digests
        if image.sha256 in backend.catalogue.digests:
            return kept_answers(session, backend.model, own)
        before = {question_of(key, sha256): image.picture_id for sha256 in others}
        return kept_answers(session, backend.model, before, own)

    def _file(self, image: StoredImage, data: bytes | None) -> bytes:
        data = data if data is not None else self._images.read(image.sha256)
        if data is None:
            raise ImageExpired.of(image.sha256)
        return data

    def _trim(self) -> None:
        with self._lock:
            self._added += 1
            if self._added < self._trim_every:
                return
            self._added = 0
        with self.database.writes() as session:
            trim_answers(session, self._max_answers)
            trim_questions(session, self._max_questions)


def options_of(question: Question) -> RecommendOptions:
    """Return the options of a question that was noted."""
    given: Mapping[str, Any] = question.options
    return RecommendOptions(**{**given, "candidates": tuple(given["candidates"])})


def _options_json(options: RecommendOptions) -> dict[str, Any]:
    """Return options as they are stored: by name, of plain values."""
    return {
        **asdict(options),
        "context": dict(options.context),
        "candidates": list(options.candidates or ()),
    }
