"""The answer: plain frozen data, the same in process, over HTTP and in a file.

An answer contains what a cache key and an outcome record need: the bundle's version, the image's
sha256, and every candidate's name and exact parameters.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

from augrank.images.augmentations import ORIGINAL
from augrank.models.targets import Direction


class Score(BaseModel, frozen=True):
    """A probability, compared with that of the request's image."""

    probability: float
    difference: float  # probability - original's probability
    lift: float | None  # difference / original's probability; None where that is 0

    def beats(self, original: float, direction: Direction) -> bool:
        """Return whether this is strictly better than the original's probability."""
        if direction == "maximize":
            return self.probability > original
        return self.probability < original


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

    schema_version: Literal[2] = 2
    model: str
    bundle_version: str
    image: ImageInfo
    target: str
    direction: Direction
    context: dict[str, Any]
    probability: float  # of the unchanged image of the request
    candidates: tuple[CandidateScore, ...]  # best first, the original among them
    best_candidate: CandidateScore  # the original if nothing beats it
    alternates: tuple[AlternateScore, ...]  # best first
    best_alternate: AlternateScore | None
    verdict: str
    cached: bool = False  # computed for an earlier request
    timings_ms: Timings

    @property
    def keep_original(self) -> bool:
        """Whether no candidate beats the original."""
        return self.best_candidate.name == ORIGINAL


def score_against(probability: float, original: float) -> dict[str, float | None]:
    """Return the fields of a Score, rounded: 6 digits, 4 for the lift."""
    difference = probability - original
    return {
        "probability": round(probability, 6),
        "difference": round(difference, 6),
        "lift": round(difference / original, 4) if original > 0 else None,
    }


def verdict(
    target: str,
    direction: Direction,
    original: float,
    best_candidate: CandidateScore,
    best_alternate: AlternateScore | None,
) -> str:
    """Return one sentence for a marketer."""
    way = "raise" if direction == "maximize" else "lower"
    keep = best_candidate.name == ORIGINAL
    if keep:
        sentence = f"Keep the picture as it is: no candidate would {way} {target}"
    else:
        sentence = (
            f"{best_candidate.name} would {way} {target} from {original:.1%} "
            f"to {best_candidate.probability:.1%}"
        )
    if best_alternate is None:
        return sentence + "."
    if best_alternate.beats(original, direction):
        reached = f"{best_alternate.probability:.1%}"
        return f"{sentence}; of the catalogue, {best_alternate.path} would reach {reached}."
    return f"{sentence}; no other picture of the catalogue would."
