"""Classify images of an advertiser: kept answers first, then the model; fixes over both.

images ─ known? ─┬─ picture ─ kept answer ─┐
                 └─ decode ── picture ─────┼─ model, of those that are left ─ fixes ─ answer
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from augrank.errors import RequestError
from augrank.images.decode import DecodeLimits
from augrank.tasks.classify.response import ImageAnswer
from service.answers import keep_answers, kept_answers, note_use, trim_answers
from service.backends import ClassifyBackend, ClassifyOptions
from service.database.session import Database
from service.database.tables import StoredImage
from service.effective import EffectiveAnswer, effective
from service.fixes import fixes_that_hold
from service.pictures import SeenImage, add_image, known_image

TRIM_EVERY = 200  # new answers


@dataclass(frozen=True)
class ClassifyRequest:
    """Images of one advertiser."""

    advertiser: str
    # Files; digests of images that were seen and have an answer; or why one could not be had.
    images: tuple[bytes | str | RequestError, ...]
    options: ClassifyOptions
    configured: Mapping[str, str]


@dataclass
class _Item:
    """One image on its way."""

    sha256: str | None = None
    picture: int | None = None
    file: dict[str, Any] = field(default_factory=dict)  # what the answer says of the file
    error: RequestError | None = None

    @classmethod
    def of(cls, image: bytes | str | RequestError) -> "_Item":
        """Return an image that was sent, or why there is none."""
        if isinstance(image, RequestError):
            return cls(error=image)
        return cls(image if isinstance(image, str) else hashlib.sha256(image).hexdigest())

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


class ClassifyService:
    """Answers requests. Thread-safe.

    Args:
        database: for answers and fixes.
        backend: the model.
        limits: larger images are rejected.
        max_answers: that are kept.
    """

    def __init__(
        self,
        database: Database,
        backend: ClassifyBackend,
        limits: DecodeLimits = DecodeLimits(),
        max_answers: int = 1_000_000,
    ) -> None:
        self.database, self.backend = database, backend
        self._limits, self._max_answers = limits, max_answers
        self._added = 0

    def __call__(self, request: ClassifyRequest) -> list[EffectiveAnswer]:
        """Answer a request, image by image; one that cannot be read has its reason."""
        items = self._identified(request.images)
        pictures = sorted({item.picture for item in items if item.picture is not None})
        model, options = self.backend.model, json.dumps(asdict(request.options), sort_keys=True)
        with self.database.reads() as session:
            kept = kept_answers(session, pictures, model, options)
        known = {
            picture: ImageAnswer.model_validate(content)
            for picture, content in kept.content.items()
        }
        fresh = self._asked(request, items, set(known))
        if fresh or kept.stale:
            self._keep(fresh, kept.stale, model, options)
        # Last, so that a fix of a moment ago is in the answer.
        with self.database.reads() as session:
            fixes = fixes_that_hold(session, request.advertiser, pictures)
        found = []
        for item in items:
            answer = (known | fresh).get(item.picture or 0)
            if answer is None:
                found.append(_failed(item))
                continue
            found.append(
                effective(
                    answer.model_copy(update=item.file),
                    fixes.get(item.picture or 0, {}),
                    request.configured,
                    self.backend.tags,
                    cached=item.picture in known,
                )
            )
        return found

    def answered(self, digests: Sequence[str], options: ClassifyOptions) -> set[str]:
        """Return those of some images that have an answer of this model."""
        with self.database.reads() as session:
            rows = (known_image(session, digest) for digest in digests)
            pictures = {row.sha256: row.picture_id for row in rows if row is not None}
            text = json.dumps(asdict(options), sort_keys=True)
            kept = kept_answers(session, list(pictures.values()), self.backend.model, text)
        return {digest for digest, picture in pictures.items() if picture in kept.content}

    def _identified(self, images: Sequence[bytes | str | RequestError]) -> list[_Item]:
        """Find the picture of every image, adding those that are new."""
        items = [_Item.of(image) for image in images]
        with self.database.reads() as session:
            for item in items:
                item.know(known_image(session, item.sha256) if item.sha256 else None)
        for item, image in zip(items, images, strict=True):
            if item.picture is None and item.sha256 and isinstance(image, bytes):
                try:
                    seen = SeenImage.of(item.sha256, image, self._limits)
                except RequestError as error:
                    item.error = error
                    continue
                with self.database.writes() as session:
                    item.know(add_image(session, seen))
        return items

    def _asked(
        self, request: ClassifyRequest, items: Sequence[_Item], known: set[int]
    ) -> dict[int, ImageAnswer]:
        """Ask the model about pictures without an answer, each once."""
        wanted: dict[int, bytes] = {}
        for item, image in zip(items, request.images, strict=True):
            if item.picture is not None and item.picture not in known and isinstance(image, bytes):
                wanted.setdefault(item.picture, image)
        if not wanted:
            return {}
        answer = self.backend.classify(list(wanted.values()), request.options)
        pairs = zip(wanted, answer.images, strict=True)
        return {picture: each for picture, each in pairs if each.error is None}

    def _keep(
        self, fresh: Mapping[int, ImageAnswer], stale: Sequence[int], model: str, options: str
    ) -> None:
        content = {picture: answer.model_dump(mode="json") for picture, answer in fresh.items()}
        with self.database.writes() as session:
            keep_answers(session, content, model, options)
            note_use(session, stale, model, options)
            self._added += len(fresh)
            if self._added >= TRIM_EVERY:
                trim_answers(session, self._max_answers)
                self._added = 0


def _failed(item: _Item) -> EffectiveAnswer:
    error = item.error or RequestError("the model could not read the image")
    return EffectiveAnswer(sha256=item.sha256, error=error.to_dict()["error"])
