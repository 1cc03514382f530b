"""Operations of albumentations. The only module that imports it."""

import json
import threading
from typing import Any

import numpy as np

from augrank.errors import DataError, one_of
from augrank.images.augmentations.operations import OPERATIONS
from augrank.images.decode import RgbImage


def apply_albumentations(op: str, params: dict[str, Any], seed: int, image: RgbImage) -> RgbImage:
    """Run one albumentations transform.

    Args:
        op: the transform's class name.
        params: its parameters, pinned.
        seed: for transforms that draw noise.
        image: uint8 (S, S, 3), RGB; never written to.

    Returns:
        uint8 (S, S, 3), RGB, contiguous.
    """
    transform = _transform(op, json.dumps(params, sort_keys=True))
    transform.set_random_seed(seed)
    return np.ascontiguousarray(transform(image=image)["image"])


class _PerThread(threading.local):
    """Transforms per thread: albumentations transforms hold random state."""

    def __init__(self) -> None:
        self.transforms: dict[tuple[str, str], Any] = {}


_per_thread = _PerThread()


def _transform(op: str, params_json: str) -> Any:
    key = (op, params_json)
    if key not in _per_thread.transforms:
        _per_thread.transforms[key] = _make_transform(op, json.loads(params_json))
    return _per_thread.transforms[key]


def _make_transform(op: str, params: dict[str, Any]) -> Any:
    import albumentations

    kinds = (albumentations.ImageOnlyTransform, albumentations.DualTransform)
    kind = getattr(albumentations, op, None)
    if not (isinstance(kind, type) and issubclass(kind, kinds)):
        raise DataError(
            "there is no augmentation operation of this name",
            expected=one_of(sorted(OPERATIONS), op) + ", or an albumentations transform",
            got=repr(op),
        )
    return kind(p=1.0, **{name: _tuples(value) for name, value in params.items()})


def _tuples(value: Any) -> Any:
    """Convert lists, as in JSON, to the tuples that albumentations expects."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
