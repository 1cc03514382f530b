"""Augmentations: the one place that says what is done to an image, in training and in serving.

An augmentation is data: a name and a list of steps, each an operation with exact parameters. A set
of them has a hash, which the bundle carries, and the same image, augmentation and seed give the
same bytes everywhere.

Sets to choose from:

- ``seed``: the six of the first experiments: original, brighter, darker, rotate, sketch, swivel.
- ``email``: the original and seven samples of the albumentations pipeline of ``sample_pipeline``.
- a YAML or JSON file of your own, which may extend one of the above::

      name: autumn
      extends: seed
      augmentations:
        - name: warmer
          steps: [{op: HueSaturationValue, params: {hue_shift_limit: [8, 8],
                   sat_shift_limit: [20, 20], val_shift_limit: [0, 0]}}]

An operation is one of OPERATIONS below or the name of an albumentations transform whose parameters
are pinned (``[8, 8]``, not ``[0, 8]``).
"""

import functools
import hashlib
import json
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, Field, field_validator

from augrank.decode import WHITE, RgbImage
from augrank.errors import DataError, one_of

ORIGINAL = "original"
# Part of every hash: raise it when the code below changes what an operation does to an image.
OPERATIONS_VERSION = 1
EMAIL_SAMPLES = 7
NAMED_SETS = ("seed", "email")


class Step(BaseModel, frozen=True, extra="forbid"):
    """One operation with its exact parameters; ``seed`` feeds operations that draw noise."""

    op: str
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0


class Augmentation(BaseModel, frozen=True, extra="forbid"):
    """A named, deterministic image transformation."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    steps: tuple[Step, ...] = ()

    def apply(self, image: RgbImage) -> RgbImage:
        """Make the candidate image.

        Args:
            image: uint8 (S, S, 3), RGB; never written to.

        Returns:
            uint8 (S, S, 3), RGB, contiguous; the image itself where there are no steps.
        """
        for step in self.steps:
            image = _apply_step(step, image)
        return image

    @property
    def hash(self) -> str:
        """sha256 of name, operations, parameters, seeds and the operations' version."""
        return _hash(self)

    def parameters(self) -> list[dict[str, Any]]:
        """The steps as plain data, for answers and outcome records."""
        return [step.model_dump(exclude_defaults=True) for step in self.steps]


class AugmentationSet(BaseModel, frozen=True, extra="forbid"):
    """The augmentations that a backbone learns to tell apart and a server offers, in order."""

    name: str
    augmentations: tuple[Augmentation, ...]

    @field_validator("augmentations")
    @classmethod
    def _original_first_and_names_unique(
        cls, value: tuple[Augmentation, ...]
    ) -> tuple[Augmentation, ...]:
        names = [augmentation.name for augmentation in value]
        if not value or value[0] != Augmentation(name=ORIGINAL):
            raise ValueError(f"the first augmentation must be {ORIGINAL!r}, without steps")
        if len(set(names)) < len(names):
            raise ValueError(f"augmentation names must differ, got {names}")
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """Augmentation names, in the order of the backbone's logits."""
        return tuple(augmentation.name for augmentation in self.augmentations)

    @property
    def hash(self) -> str:
        """sha256 of names, operations, parameters, seeds and the operations' version."""
        return _hash(self)

    def __getitem__(self, name: str) -> Augmentation:
        for augmentation in self.augmentations:
            if augmentation.name == name:
                return augmentation
        raise KeyError(name)


def _hash(defined: BaseModel) -> str:
    spec = {"operations": OPERATIONS_VERSION, **defined.model_dump(mode="json")}
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# --- The operations of the seed set: (image, params) -> image --------------------------------


def brightness(image: RgbImage, factor: float) -> RgbImage:
    """Multiply every channel by ``factor``, saturating at 255."""
    return cv2.LUT(image, _brightness_table(factor)).astype(np.uint8, copy=False)


def rotate(image: RgbImage, quarter_turns: int) -> RgbImage:
    """Turn in the plane by quarter turns, counter-clockwise."""
    turn = QUARTER_TURNS[quarter_turns % 4]
    return image if turn is None else cv2.rotate(image, turn).astype(np.uint8, copy=False)


def sketch(image: RgbImage, sigma: float) -> RgbImage:
    """Pencil drawing: grey divided by its blurred negative (the "colour dodge" of darkrooms).

    ``sigma`` is the blur in 1/100 of the image's side, so that strokes keep their relative width.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    negative = cv2.bitwise_not(grey).astype(np.uint8, copy=False)
    blurred = _gaussian_blur(negative, max(0.5, sigma * image.shape[0] / 100))
    dodged = cv2.divide(grey, 255 - blurred, scale=255.0)
    # Where the negative is white the quotient is undefined; cv2.divide gives 0, paper is white.
    dodged[blurred == 255] = WHITE
    return cv2.cvtColor(dodged, cv2.COLOR_GRAY2RGB).astype(np.uint8, copy=False)


def swivel(image: RgbImage, degrees: float) -> RgbImage:
    """Turn about the vertical axis, seen in perspective from 1.5 sides away, on white."""
    side = image.shape[0]
    matrix = swivel_matrix(side, degrees)
    turned = cv2.warpPerspective(
        image,
        matrix,
        (side, side),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(WHITE, WHITE, WHITE),
    )
    return turned.astype(np.uint8, copy=False)


QUARTER_TURNS = (
    None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE,
)  # fmt: skip
OPERATIONS: dict[str, Callable[..., RgbImage]] = {
    "brightness": brightness,
    "rotate": rotate,
    "sketch": sketch,
    "swivel": swivel,
}

SEED_AUGMENTATIONS = (
    Augmentation(name=ORIGINAL),
    Augmentation(name="brighter", steps=(Step(op="brightness", params={"factor": 1.5}),)),
    Augmentation(name="darker", steps=(Step(op="brightness", params={"factor": 0.5}),)),
    Augmentation(name="rotate", steps=(Step(op="rotate", params={"quarter_turns": 1}),)),
    Augmentation(name="sketch", steps=(Step(op="sketch", params={"sigma": 3.0}),)),
    Augmentation(name="swivel", steps=(Step(op="swivel", params={"degrees": 30.0}),)),
)


# --- The albumentations pipeline, sampled ---------------------------------------------------------


def sample_pipeline(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draw one sample of the email pipeline: which blocks act, and with exactly what.

    The blocks and their probabilities, in order: flip (1/2), transpose (1/2), Gaussian noise
    (1/5); with 1/5 one of motion, median or plain blur (weights 2:1:1); shift-scale-rotate (1/5);
    with 3/10 one of CLAHE, sharpen, emboss, random brightness; hue-saturation-value (3/10).
    """
    steps: list[Step] = []

    def add(op: str, **params: Any) -> None:
        steps.append(Step(op=op, params=params, seed=int(rng.integers(2**31))))

    def pinned(low: float, high: float) -> list[float]:
        value = round(float(rng.uniform(low, high)), 4)
        return [value, value]

    if rng.random() < 0.5:
        way = int(rng.integers(3))  # horizontally, vertically, both
        if way != 1:
            add("HorizontalFlip")
        if way != 0:
            add("VerticalFlip")
    if rng.random() < 0.5:
        add("Transpose")
    if rng.random() < 0.2:
        add("GaussNoise", std_range=pinned(0.02, 0.05))
    if rng.random() < 0.2:
        blur = str(rng.choice(["MotionBlur", "MedianBlur", "Blur"], p=[0.5, 0.25, 0.25]))
        if blur == "MotionBlur":
            side = int(rng.choice([3, 5, 7]))
            angle = pinned(0, 180)
            add(blur, blur_limit=[side, side], angle_range=angle, direction_range=[0.0, 0.0])
        else:
            add(blur, blur_limit=[3, 3])
    if rng.random() < 0.2:
        shift = {"x": pinned(-0.0625, 0.0625), "y": pinned(-0.0625, 0.0625)}
        add(
            "Affine",
            translate_percent=shift,
            scale=pinned(0.8, 1.2),
            rotate=pinned(-45, 45),
            fill=WHITE,
        )
    if rng.random() < 0.3:
        match str(rng.choice(["CLAHE", "Sharpen", "Emboss", "RandomBrightnessContrast"])):
            case "CLAHE":
                add("CLAHE", clip_limit=[2.0, 2.0])
            case "Sharpen":
                add("Sharpen", alpha=pinned(0.2, 0.5), lightness=pinned(0.5, 1.0))
            case "Emboss":
                add("Emboss", alpha=pinned(0.2, 0.5), strength=pinned(0.2, 0.7))
            case other:
                add(other, brightness_limit=pinned(-0.2, 0.2), contrast_limit=[0.0, 0.0])
    if rng.random() < 0.3:
        add(
            "HueSaturationValue",
            hue_shift_limit=pinned(-20, 20),
            sat_shift_limit=pinned(-30, 30),
            val_shift_limit=pinned(-20, 20),
        )
    return tuple(steps)


def email_augmentations(seed: int, count: int = EMAIL_SAMPLES) -> tuple[Augmentation, ...]:
    """The original and ``count`` different, non-empty samples of the pipeline."""
    rng = np.random.default_rng(seed)
    chosen = [Augmentation(name=ORIGINAL)]
    operations_seen: set[tuple[str, ...]] = {()}
    while len(chosen) <= count:
        steps = sample_pipeline(rng)
        operations = tuple(step.op for step in steps)
        if operations in operations_seen:
            continue  # the same operations with slightly other numbers look alike
        operations_seen.add(operations)
        chosen.append(Augmentation(name=f"sample_{len(chosen)}", steps=steps))
    return tuple(chosen)


# --- Sets by name or file -------------------------------------------------------------------------


def augmentation_set(name: str = "seed", seed: int = 0) -> AugmentationSet:
    """The set of this name, or the one that a YAML or JSON file describes.

    Args:
        name: ``seed``, ``email``, or the path of a file (see the module's docstring).
        seed: draws the samples of ``email``; the seed set does not depend on it.

    Raises:
        DataError: an unknown name, or a file that does not describe a set; says what is allowed.
    """
    if name == "seed":
        return AugmentationSet(name="seed", augmentations=SEED_AUGMENTATIONS)
    if name == "email":
        return AugmentationSet(name="email", augmentations=email_augmentations(seed))
    path = Path(name)
    if not path.is_file():
        raise DataError(
            "there is no augmentation set of this name",
            expected=one_of(NAMED_SETS, name) + ", or a YAML or JSON file",
            got=repr(name),
        )
    return _set_from_file(path, seed)


def _set_from_file(path: Path, seed: int) -> AugmentationSet:
    try:
        spec = dict(yaml.safe_load(path.read_text(encoding="utf-8")))
        base = _base(spec.pop("extends", None), seed)
        own = [Augmentation.model_validate(item) for item in spec.pop("augmentations", [])]
        own = [item for item in own if item != Augmentation(name=ORIGINAL)]
        chosen = AugmentationSet(
            name=spec.pop("name", path.stem), augmentations=(*base, *own), **spec
        )
        check_augmentations(chosen)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{path} does not describe an augmentation set: {error}") from error
    return chosen


def _base(name: str | None, seed: int) -> tuple[Augmentation, ...]:
    if name is None:
        return (Augmentation(name=ORIGINAL),)
    if name not in NAMED_SETS:
        raise ValueError(f"extends must be {one_of(NAMED_SETS, str(name))}, got {name!r}")
    return augmentation_set(name, seed).augmentations


def check_augmentations(chosen: AugmentationSet) -> None:
    """Run every augmentation twice on a small image; refuse what fails or is not repeatable.

    Raises:
        DataError: names the augmentation and what is wrong with it.
    """
    gradient = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    for augmentation in chosen.augmentations:
        try:
            first, second = augmentation.apply(gradient), augmentation.apply(gradient)
        except DataError:
            raise
        except Exception as error:  # a user's parameters can fail in any way
            raise DataError(f"augmentation {augmentation.name!r} fails: {error}") from error
        if first.shape != gradient.shape or first.dtype != np.uint8:
            raise DataError(
                f"augmentation {augmentation.name!r} changes the image's size or type",
                expected="uint8 (32, 32, 3)",
                got=f"{first.dtype} {first.shape}",
            )
        if not np.array_equal(first, second):
            raise DataError(
                f"augmentation {augmentation.name!r} gives other bytes each time",
                remedy="Pin its parameters: [8, 8] instead of [0, 8].",
            )


# --- How a step runs ------------------------------------------------------------------------------


def _apply_step(step: Step, image: RgbImage) -> RgbImage:
    operation = OPERATIONS.get(step.op)
    if operation is not None:
        return operation(image, **step.params)
    transform = _albumentations_transform(step.op, json.dumps(step.params, sort_keys=True))
    transform.set_random_seed(step.seed)
    return np.ascontiguousarray(transform(image=image)["image"])


@functools.lru_cache(maxsize=32)
def _brightness_table(factor: float) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = np.clip(np.arange(256) * factor + 0.5, 0, 255).astype(np.uint8)
    return table


def _gaussian_blur(grey: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """``cv2.GaussianBlur(grey, (0, 0), sigma)``, byte for byte, in an eighth of its time.

    Its kernel for uint8 has whole numbers that sum to 256, so all its sums are below 2 ** 24 and
    exact in float32, which vectorises better than OpenCV's own fixed point.
    """
    kernel = gaussian_kernel(sigma)
    # Both kernels together scale by 2 ** -16; adding a half and cutting off rounds.
    blurred = cv2.sepFilter2D(grey, cv2.CV_32F, kernel, kernel / 65536, delta=0.5)
    return blurred.astype(np.uint8)


@functools.lru_cache(maxsize=32)
def gaussian_kernel(sigma: float) -> NDArray[np.float32]:
    """Weights of the blur in 1/256, odd in number, without zeros at the ends; float32.

    Rounded from the ends to the middle, each with what rounding left of the one before.
    """
    width = round(6 * sigma + 1) | 1  # as OpenCV chooses it for uint8
    exact = 256 * cv2.getGaussianKernel(width, sigma, cv2.CV_64F)[: width // 2, 0]
    half, left = np.zeros(len(exact), np.float32), 0.0
    for place, weight in enumerate(exact):
        half[place] = np.rint(weight + left)
        left += weight - half[place]
    half = half[np.argmax(half > 0) :] if half.any() else half[:0]
    return np.concatenate([half, [256 - 2 * half.sum()], half[::-1]]).astype(np.float32)


@functools.lru_cache(maxsize=32)
def swivel_matrix(side: int, degrees: float) -> NDArray[np.float64]:
    """Homography (3, 3) of a plane turned about its vertical axis, from the pinhole model.

    The point (x, y, 0), measured from the middle, turns to (x cos, y, x sin) and is seen from
    ``distance`` away: x' = distance x cos / (distance + x sin), y' = distance y / (...).
    """
    turn, distance, middle = math.radians(degrees), 1.5 * side, (side - 1) / 2
    project = np.array(
        [[distance * math.cos(turn), 0, 0], [0, distance, 0], [math.sin(turn), 0, distance]]
    )
    to_middle = np.array([[1, 0, -middle], [0, 1, -middle], [0, 0, 1.0]])
    matrix: NDArray[np.float64] = np.linalg.inv(to_middle) @ project @ to_middle
    return matrix


class _PerThread(threading.local):
    """albumentations transforms hold their random state, so each thread has its own."""

    def __init__(self) -> None:
        self.transforms: dict[tuple[str, str], Any] = {}


_per_thread = _PerThread()


def _albumentations_transform(op: str, params_json: str) -> Any:
    key = (op, params_json)
    if key not in _per_thread.transforms:
        _per_thread.transforms[key] = _make_transform(op, json.loads(params_json))
    return _per_thread.transforms[key]


def _make_transform(op: str, params: dict[str, Any]) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the internet at import
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
    """JSON has lists where albumentations wants tuples."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
