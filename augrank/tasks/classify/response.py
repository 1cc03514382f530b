"""The answer: plain frozen data, the same in process, over HTTP and in a file."""

from typing import Any, Literal

from pydantic import BaseModel

from augrank.models.rules import Decision
from augrank.models.tags import Tag


class ClassScore(BaseModel, frozen=True):
    """One class of a label."""

    name: str
    probability: float  # calibrated


class LabelAnswer(BaseModel, frozen=True):
    """What an image shows, in one respect."""

    value: str  # the most probable class
    probability: float  # of it
    top: tuple[ClassScore, ...]  # most probable first
    set: tuple[str, ...]  # holds the right class at the stated coverage; most probable first


class RankAnswer(BaseModel, frozen=True):
    """Where an image ranks by a score, such as popularity.

    The difference of two images' scores is the log odds that the first one beats the second, if
    both are of the same uploader, or whatever the rank was learned within.
    """

    score: float
    percentile: float  # 0..100, among images that training never saw
    probability: float  # that it beats the median of them


class CreditDecision(BaseModel, frozen=True):
    """Whether an image earns the credit of its review kind."""

    decision: Decision
    label: str = ""  # that it is made of; empty in answers of earlier versions
    review_kind: str
    credit: tuple[str, ...]  # the classes that earn credit
    probability: float  # that the image is of one of them
    text: str  # one sentence


class ImageAnswer(BaseModel, frozen=True):
    """One image: its labels, or why it was skipped."""

    sha256: str | None = None  # None if the request did not hold an image there
    width: int | None = None  # pixels, after EXIF orientation
    height: int | None = None
    format: str | None = None
    labels: dict[str, LabelAnswer] = {}
    ranks: dict[str, RankAnswer] = {}
    tags: dict[str, Tag] = {}  # with rules of tags in the bundle
    decision: CreditDecision | None = None  # with a review kind, and rules in the bundle
    error: dict[str, Any] | None = None  # code, message, expected, got, remedy


class Timings(BaseModel, frozen=True):
    """Milliseconds by stage, over the images of the request; zero if the answer was cached.

    ``embed`` is of the backbone calls that the request's images were part of.
    """

    decode: float = 0.0
    embed: float = 0.0
    score: float = 0.0
    total: float


class Answer(BaseModel, frozen=True):
    """The labels of one or several images."""

    schema_version: Literal[1] = 1
    model: str
    bundle_version: str
    engine: str  # the graph and what ran it, such as ``int8 on OpenVINO (bf16)``
    coverage: float  # of the prediction sets
    images: tuple[ImageAnswer, ...]  # in the order of the request
    cached: bool = False  # computed for an earlier request
    timings_ms: Timings

    @property
    def reusable(self) -> bool:
        """Whether an equal request may get the same answer.

        Not if an image could not be read from the request, whose bytes are then unknown, or if the
        server failed.
        """
        return all(
            image.error is None or (image.sha256 is not None and image.error["status"] < 500)
            for image in self.images
        )
