"""The requests for servers: images, each with a target and a random context."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import BadRequest
from augrank.images.decode import FOREIGN
from augrank.images.files import IMAGE_SUFFIXES
from augrank.models.context import ContextEncoder

SAMPLE_IMAGES = Path(__file__).parents[2] / "examples" / "catalogue" / "images"


def recommend_request(
    image: bytes, target: str, context: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """Return the JSON object of one request."""
    encoded = base64.b64encode(image).decode()
    return {"image": encoded, "target": target, "context": dict(context), **options}


def recommend_requests(bundle: RecommendBundle, images: Sequence[Path]) -> list[dict[str, Any]]:
    """Return one request per image: targets in turn, contexts drawn at random (seeded).

    The images count as new ones, which the bundle's catalogue does not know.
    """
    targets = [head.target.name for head in bundle.spec.heads]
    encoder, rng = ContextEncoder(bundle.spec.context), np.random.default_rng(0)
    return [
        recommend_request(
            image.read_bytes() + FOREIGN, targets[number % len(targets)], encoder.draw(rng)
        )
        for number, image in enumerate(images)
    ]


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
