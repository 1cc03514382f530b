"""Small JPEGs of an answer's images."""

import base64

from augrank.images.augmentations import Augmentation
from service.answers.recommend import RecommendAnswer
from service.errors import ImageExpired, NotFound
from service.parts import Parts


def preview_of(parts: Parts, sha256: str, augmentation: Augmentation) -> bytes:
    """Return a small JPEG of a version of an image.

    Raises:
        ImageExpired: the file is not kept any more.
    """
    offered = parts.recommender.backend.augmentations.augmentations
    preview = parts.previews.get(sha256, augmentation, offered, lambda: parts.images.read(sha256))
    if preview is None:
        raise ImageExpired.of(sha256)
    return preview


def with_thumbnails(parts: Parts, answer: RecommendAnswer) -> RecommendAnswer:
    """Return an answer with a small JPEG of each image that is still there."""
    candidates = [
        score.model_copy(update={"thumbnail": _candidate(parts, answer.sha256, score.name)})
        for score in answer.candidates
    ]
    alternates = [
        score.model_copy(update={"thumbnail": _alternate(parts, score.path)})
        for score in answer.alternates
    ]
    shown = {"candidates": tuple(candidates), "alternates": tuple(alternates)}
    return answer.model_copy(update=shown)


def _candidate(parts: Parts, sha256: str, name: str) -> str | None:
    augmentations = parts.recommender.backend.augmentations
    if name not in augmentations.names:  # another model has taken its place a moment ago
        return None
    try:
        return base64.b64encode(preview_of(parts, sha256, augmentations[name])).decode()
    except ImageExpired:
        return None


def _alternate(parts: Parts, path: str) -> str | None:
    try:
        return base64.b64encode(parts.recommender.backend.catalogue.preview(path)).decode()
    except NotFound:
        return None
