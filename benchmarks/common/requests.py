"""The requests for servers: an image each, with a target and a random context, or a review kind."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import BadRequest
from augrank.images.decode import FOREIGN
from augrank.images.files import IMAGE_SUFFIXES
from augrank.models.context import ContextEncoder

SAMPLE_IMAGES = Path(__file__).parents[2] / "examples" / "catalogue" / "images"


def requests_for(bundle: Bundle[BundleSpec], images: Sequence[Path]) -> list[dict[str, Any]]:
    """Return one request per image, of the bundle's task."""
    spec = bundle.spec
    if isinstance(spec, RecommendSpec):
        return _recommend_requests(spec, images)
    fields = spec.example_fields()
    return [{"image": _encoded(image.read_bytes()), **fields} for image in images]


def recommend_request(
    image: bytes, target: str, context: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """Return the JSON object of one request."""
    return {"image": _encoded(image), "target": target, "context": dict(context), **options}


def _recommend_requests(spec: RecommendSpec, images: Sequence[Path]) -> list[dict[str, Any]]:
    """Return one request per image: targets in turn, contexts drawn at random (seeded).

    The images count as new ones, which the bundle's catalogue does not know.
    """
    targets = [head.target.name for head in spec.heads]
    encoder, rng = ContextEncoder(spec.context), np.random.default_rng(0)
    return [
        recommend_request(
            image.read_bytes() + FOREIGN, targets[number % len(targets)], encoder.draw(rng)
        )
        for number, image in enumerate(images)
    ]


def _encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def image_files(folder: Path) -> list[Path]:
    """Return the image files of a folder, sorted.

    Raises:
        BadRequest: there are no images.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise BadRequest(
            "there are no images", expected="files " + ", ".join(IMAGE_SUFFIXES), got=str(folder)
        )
    return files
