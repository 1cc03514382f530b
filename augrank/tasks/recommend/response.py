"""The answer: plain frozen data, the same in process, over HTTP and in a file.

An answer contains what a cache key and an outcome record need: the bundle's version, the image's
sha256, and every candidate's name and exact parameters.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from augrank.images.augmentations import ORIGINAL
from augrank.models.targets import Direction
from augrank.trust.verdict import Kind

Interval = tuple[float, float]


class Score(BaseModel, frozen=True):
    """A probability, compared with that of the request's image; 90 % intervals."""

    probability: float
    interval: Interval  # of the probability
    difference: float  # probability - original's probability
    difference_interval: Interval  # paired: what is unsure about the image cancels
    lift: float | None  # difference / original's probability; None where that is 0
    better: bool  # the lower bound, simultaneous over all options, is above min_lift


class CandidateScore(Score, frozen=True):
    """One augmented version of the request's image."""

    name: str
    parameters: list[dict[str, Any]]  # the augmentation's steps, exactly as they ran
    thumbnail: str | None = Field(default=None, repr=False)  # base64 JPEG, on request


class AlternateScore(Score, frozen=True):
    """Another image of the catalogue."""

    path: str  # as in the manifest
    attributes: dict[str, Any]
    thumbnail: str | None = Field(default=None, repr=False)


class Verdict(BaseModel, frozen=True):
    """What to do, in words and as data."""

    kind: Kind
    choice: str | None  # the candidate's name or the alternate's path, if the kind is ``change``
    sends: int | None  # of each version, that could tell; if the kind is ``unsure``
    lift: float | None  # the relative change that these sends could tell
    text: str  # one sentence for a marketer


class ImageInfo(BaseModel, frozen=True):
    """The request's image file."""

    sha256: str
    width: int  # pixels, after EXIF orientation
    height: int
    format: str


class Timings(BaseModel, frozen=True):
    """Milliseconds by stage; zero if the answer came from the cache.

    ``augment`` computes the candidates, writes them into the batch and encodes their thumbnails.
    ``embed`` is one backbone call, shared by the requests that it served.
    """

    decode: float = 0.0
    augment: float = 0.0
    embed: float = 0.0
    score: float = 0.0
    rank: float = 0.0
    total: float


class Answer(BaseModel, frozen=True):
    """A ranked recommendation for one image, one target and one context."""

    schema_version: Literal[3] = 3
    model: str
    bundle_version: str
    engine: str  # the graph and what ran it, such as ``int8 on OpenVINO (bf16)``
    image: ImageInfo
    target: str
    direction: Direction
    context: dict[str, Any]
    augmentation: str  # already applied to the request's image
    min_lift: float  # that the lower bound of a change exceeds
    probability: float  # of the unchanged image of the request
    interval: Interval
    candidates: tuple[CandidateScore, ...]  # best first, the original among them
    best_candidate: CandidateScore  # the verdict's choice; the original unless it is ``change``
    verdict: Verdict
    alternates: tuple[AlternateScore, ...]  # best first
    best_alternate: AlternateScore | None  # the verdict's choice, if it is ``change``
    alternate_verdict: Verdict | None  # None if no alternate was considered
    cached: bool = False  # computed for an earlier request
    timings_ms: Timings

    @property
    def reusable(self) -> bool:
        """Whether an equal request may get the same answer."""
        return True

    @property
    def keep_original(self) -> bool:
        """Whether no change is recommended."""
        return self.best_candidate.name == ORIGINAL
