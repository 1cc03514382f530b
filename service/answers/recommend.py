"""Recommend versions of an advertiser's image: kept answers first, then the model.

file, digest or catalogue path ─ look ─ kept answer ─┬─ image, answer and question kept ─ answer
                                  └──── model ───────┘
"""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import Field
from sqlalchemy.orm import Session

from augrank.images.decode import DecodedImage, DecodeLimits
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
from service.errors import ChangedMeanwhile, ImageExpired
from service.fixes.history import one_at_a_time
from service.images.arrivals import Arrival, sent_image, take_in
from service.images.pictures import (
    Near,
    Sent,
    add_images,
    find_near,
    note_sightings,
    sent_before,
)
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


@dataclass(frozen=True)
class _Asked:
    """What is asked of a model, about an image that was looked at."""

    backend: RecommendBackend
    arrival: Arrival
    request: RecommendRequest  # with canonical options
    options: Mapping[str, Any]  # as they are stored

    @classmethod
    def of(cls, backend: RecommendBackend, arrival: Arrival, request: RecommendRequest) -> "_Asked":
        return cls(backend, arrival, request, _options_json(request.options))

    def question(self, sha256: str) -> str:
        """Return the question about a file, as answers are kept by it."""
        return question_of({**self.options, "task": TASK}, sha256)


@dataclass(frozen=True)
class _Found:
    """What is known of an image that is asked about."""

    picture: int | None  # that it shows
    near: Sequence[Near]  # of a new file
    before: Sent  # what the advertiser has sent
    content: Mapping[str, Any] | None  # of the kept answer
    stale: Sequence[int]  # answers whose use was noted long ago


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
        started, backend, image = time.perf_counter(), self.live.current, request.image
        # Before the image is looked at.
        request = replace(request, options=backend.canonical(request.options))
        if isinstance(image, SentBefore):
            with self.database.reads() as session:
                known = sent_image(session, request.advertiser, image.sha256)
            arrival = Arrival(known.sha256, known)
            return self._answer(_Asked.of(backend, arrival, request), started)
        data = backend.catalogue.best(image.path) if isinstance(image, OfCatalogue) else image
        arrival = take_in(self.database, self._images, data, self._limits, backend.decode)
        return self._answer(_Asked.of(backend, arrival, request), started)

    def again(self, question: Question, who: str = "") -> RecommendAnswer:
        """Answer a question that was asked before, without noting it.

        Raises:
            ImageExpired: neither the answer nor the image is kept any more.
            RequestError: the model that answers now does not know an option.
        """
        started, backend = time.perf_counter(), self.live.current
        options = backend.canonical(options_of(question))
        with self.database.reads() as session:
            image = sent_image(session, question.advertiser, question.sha256)
        asked = SentBefore(question.sha256)
        request = RecommendRequest(question.advertiser, asked, options, who, noted=False)
        arrival = Arrival(image.sha256, image)
        answer = self._answer(_Asked.of(backend, arrival, request), started)
        return answer.model_copy(update={"question": question.token})

    def _answer(self, asked: _Asked, started: float) -> RecommendAnswer:
        """Answer about an image that was looked at, in a request that came at a time."""
        request, sha256 = asked.request, asked.arrival.sha256
        found = self._found(asked)
        fresh, token = None, ""
        if found.content is None:
            answer = asked.backend.recommend(self._content(asked.arrival), request.options)
            fresh = answer.model_dump(mode="json")
        known, content = asked.arrival.known, found.content or fresh
        is_known = asked.arrival.seen is None and sha256 in found.before.images
        if request.noted or fresh or found.stale or not is_known:
            with self.database.writes() as session:
                known, content = self._keep(session, asked, found, fresh)
                if found.stale:
                    note_use(session, found.stale)
                if request.noted:
                    token = note_question(
                        session, request.advertiser, sha256, asked.options, request.who
                    )
            self._trim()
        assert content is not None
        total_ms = round(1e3 * (time.perf_counter() - started), 3)
        return RecommendAnswer.model_validate(
            {
                **content,
                "timings_ms": Timings(total=total_ms),  # stages would tell that others have asked
                "image": ImageInfo.model_validate(known, from_attributes=True),
                "advertiser": request.advertiser,
                "sha256": sha256,
                "model_digest": asked.backend.model,
                "question": token,
                "cached": found.picture in found.before.pictures,
            }
        )

    def _found(self, asked: _Asked) -> _Found:
        """Return what is known of an image, or of the picture that it shows."""
        known, seen = asked.arrival.known, asked.arrival.seen
        with self.database.reads() as session:
            near: list[Near] = []
            picture = known.picture_id if known is not None else None
            if seen is not None:
                near = find_near(session, self.database.looks, [seen.look])
                picture = near[0].picture
            if picture is None:
                return _Found(None, near, Sent({}, frozenset()), None, ())
            before = sent_before(session, asked.request.advertiser, [picture])
            kept = _kept(session, asked, picture, before)
        return _Found(picture, near, before, kept.content.get(picture), kept.stale)

    def _keep(
        self, session: Session, asked: _Asked, found: _Found, fresh: Mapping[str, Any] | None
    ) -> tuple[StoredImage, Mapping[str, Any] | None]:
        """Keep an image and its answer; return what is known of it, and the answer that counts.

        Args:
            session: that writes.
            asked: the question.
            found: what was known of it, a moment ago.
            fresh: the model's answer; None: one is kept.

        Raises:
            ChangedMeanwhile: another answer counts.
        """
        known, seen, sha256 = asked.arrival.known, asked.arrival.seen, asked.arrival.sha256
        advertiser, content = asked.request.advertiser, fresh or found.content
        new_files: Collection[str] = ()
        new_pictures: Collection[int] = ()
        if seen is not None:
            added = add_images(session, self.database.looks, [seen], found.near)
            known, new_files, new_pictures = added.rows[sha256], added.new, added.new_pictures
        assert known is not None
        if found.picture not in (None, known.picture_id):
            raise ChangedMeanwhile.made()  # others have added it, and found another picture
        if sha256 not in found.before.images:
            note_sightings(session, advertiser, [sha256], new_files)
        if fresh is not None:
            picture, own = known.picture_id, asked.question(sha256)
            one_at_a_time(session, picture)
            answer = NewAnswer(picture, sha256, own, fresh, advertiser)
            keep_answers(session, [answer], asked.backend.model)
            if picture not in new_pictures:
                # If another one was kept a moment ago, all get that one from now on.
                sent = sent_before(session, advertiser, [picture])
                content = _kept(session, asked, picture, sent).content[picture]
        return known, content

    def _content(self, arrival: Arrival) -> bytes | DecodedImage:
        content = arrival.content or self._images.read(arrival.sha256)
        if content is None:
            raise ImageExpired.of(arrival.sha256)
        return content

    def _trim(self) -> None:
        with self._lock:
            self._added += 1
            if self._added < self._trim_every:
                return
            self._added = 0
        trim_answers(self.database, self._max_answers)
        with self.database.writes() as session:
            trim_questions(session, self._max_questions)


def _kept(session: Session, asked: _Asked, picture: int, sent: Sent) -> KeptAnswers:
    """Return the answer about an image, or about another file of its picture that was sent."""
    model, catalogue = asked.backend.model, asked.backend.catalogue.digests
    sha256 = asked.arrival.sha256
    own = {asked.question(sha256): picture}
    # Of an image of the catalogue more is known than of others that show the same picture.
    if sha256 in catalogue:
        return kept_answers(session, model, own)
    before = {asked.question(other): picture for other in {*sent.images} - catalogue}
    return kept_answers(session, model, before, own)


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
