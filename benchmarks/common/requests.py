"""What servers are asked: images with a target and a drawn context each."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augrank.bundle.recommend_spec import RecommendBundle
from augrank.models.context import ContextEncoder


def question(
    image: bytes, target: str, context: Mapping[str, Any], **options: Any
) -> dict[str, Any]:
    """The JSON object of a request."""
    encoded = base64.b64encode(image).decode()
    return {"image": encoded, "target": target, "context": dict(context), **options}


def questions(bundle: RecommendBundle, images: Sequence[Path]) -> list[dict[str, Any]]:
    """One for each image, targets in turn, contexts drawn."""
    targets = [head.target.name for head in bundle.spec.heads]
    encoder, rng = ContextEncoder(bundle.spec.context), np.random.default_rng(0)
    return [
        question(image.read_bytes(), targets[number % len(targets)], encoder.draw(rng))
        for number, image in enumerate(images)
    ]
