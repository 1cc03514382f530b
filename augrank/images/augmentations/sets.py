"""Sets of augmentations, by name or from a file.

- ``seed``: the six of the first experiments: original, brighter, darker, rotate, sketch, swivel.
- ``email``: the original and seven samples of the albumentations pipeline of ``sample_pipeline``.
- a YAML or JSON file, which may extend one of the above::

      name: autumn
      extends: seed
      augmentations:
        - name: warmer
          steps: [{op: HueSaturationValue, params: {hue_shift_limit: [8, 8],
                   sat_shift_limit: [20, 20], val_shift_limit: [0, 0]}}]

An operation is one of OPERATIONS below or the name of an albumentations transform whose parameters
are pinned (``[8, 8]``, not ``[0, 8]``).
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from augrank.errors import DataError, one_of, reason
from augrank.images.augmentations.spec import ORIGINAL, Augmentation, AugmentationSet, Step
from augrank.images.letterbox import WHITE

EMAIL_SAMPLES = 7
NAMED_SETS = ("seed", "email")
SEED_AUGMENTATIONS = (
    Augmentation(name=ORIGINAL),
    Augmentation(name="brighter", steps=(Step(op="brightness", params={"factor": 1.5}),)),
    Augmentation(name="darker", steps=(Step(op="brightness", params={"factor": 0.5}),)),
    Augmentation(name="rotate", steps=(Step(op="rotate", params={"quarter_turns": 1}),)),
    Augmentation(name="sketch", steps=(Step(op="sketch", params={"sigma": 3.0}),)),
    Augmentation(name="swivel", steps=(Step(op="swivel", params={"degrees": 30.0}),)),
)


def sample_pipeline(rng: np.random.Generator) -> tuple[Step, ...]:
    """Draw one sample of the email pipeline: the active blocks, with exact parameters.

    The blocks and their probabilities, in order: flip (1/2), transpose (1/2), Gaussian noise
    (1/5); with 1/5 one of motion, median or plain blur (weights 2:1:1); shift-scale-rotate (1/5);
    with 3/10 one of CLAHE, sharpen, emboss, random brightness; hue-saturation-value (3/10).
    """
    sampler = _PipelineSampler(rng)
    for probability, block in (
        (0.5, sampler.flip),
        (0.5, sampler.transpose),
        (0.2, sampler.noise),
        (0.2, sampler.blur),
        (0.2, sampler.shift_scale_rotate),
        (0.3, sampler.sharpen_or_brighten),
        (0.3, sampler.hue_saturation_value),
    ):
        if rng.random() < probability:
            block()
    return tuple(sampler.steps)


class _PipelineSampler:
    """The blocks of the email pipeline; each samples its parameters and adds its steps."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.steps: list[Step] = []

    def flip(self) -> None:
        direction = int(self._rng.integers(3))  # horizontal, vertical, both
        if direction != 1:
            self._add("HorizontalFlip")
        if direction != 0:
            self._add("VerticalFlip")

    def transpose(self) -> None:
        self._add("Transpose")

    def noise(self) -> None:
        self._add("GaussNoise", std_range=self._pinned(0.02, 0.05))

    def blur(self) -> None:
        blur = str(self._rng.choice(["MotionBlur", "MedianBlur", "Blur"], p=[0.5, 0.25, 0.25]))
        if blur == "MotionBlur":
            side = int(self._rng.choice([3, 5, 7]))
            angle = self._pinned(0, 180)
            self._add(blur, blur_limit=[side, side], angle_range=angle, direction_range=[0.0, 0.0])
        else:
            self._add(blur, blur_limit=[3, 3])

    def shift_scale_rotate(self) -> None:
        shift = {"x": self._pinned(-0.0625, 0.0625), "y": self._pinned(-0.0625, 0.0625)}
        scale, rotate = self._pinned(0.8, 1.2), self._pinned(-45, 45)
        self._add("Affine", translate_percent=shift, scale=scale, rotate=rotate, fill=WHITE)

    def sharpen_or_brighten(self) -> None:
        match str(self._rng.choice(["CLAHE", "Sharpen", "Emboss", "RandomBrightnessContrast"])):
            case "CLAHE":
                self._add("CLAHE", clip_limit=[2.0, 2.0])
            case "Sharpen":
                alpha, lightness = self._pinned(0.2, 0.5), self._pinned(0.5, 1.0)
                self._add("Sharpen", alpha=alpha, lightness=lightness)
            case "Emboss":
                alpha, strength = self._pinned(0.2, 0.5), self._pinned(0.2, 0.7)
                self._add("Emboss", alpha=alpha, strength=strength)
            case other:
                brightness = self._pinned(-0.2, 0.2)
                self._add(other, brightness_limit=brightness, contrast_limit=[0.0, 0.0])

    def hue_saturation_value(self) -> None:
        self._add(
            "HueSaturationValue",
            hue_shift_limit=self._pinned(-20, 20),
            sat_shift_limit=self._pinned(-30, 30),
            val_shift_limit=self._pinned(-20, 20),
        )

    def _add(self, op: str, **params: Any) -> None:
        self.steps.append(Step(op=op, params=params, seed=int(self._rng.integers(2**31))))

    def _pinned(self, low: float, high: float) -> list[float]:
        value = round(float(self._rng.uniform(low, high)), 4)
        return [value, value]


def email_augmentations(seed: int, count: int = EMAIL_SAMPLES) -> tuple[Augmentation, ...]:
    """Return the original and ``count`` different, non-empty samples of the pipeline."""
    rng = np.random.default_rng(seed)
    chosen = [Augmentation(name=ORIGINAL)]
    operations_seen: set[tuple[str, ...]] = {()}
    while len(chosen) <= count:
        steps = sample_pipeline(rng)
        operations = tuple(step.op for step in steps)
        if operations in operations_seen:
            continue  # the same operations with slightly different parameters look alike
        operations_seen.add(operations)
        chosen.append(Augmentation(name=f"sample_{len(chosen)}", steps=steps))
    return tuple(chosen)


def augmentation_set(name: str = "seed", seed: int = 0) -> AugmentationSet:
    """Return the set of this name, or the set described by a YAML or JSON file.

    Args:
        name: ``seed``, ``email``, or the path of a file (see the module's docstring).
        seed: draws the samples of ``email``; the seed set does not depend on it.

    Raises:
        DataError: an unknown name, or a file that does not describe a set.
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
        added = [Augmentation.model_validate(item) for item in spec.pop("augmentations", [])]
        added = [item for item in added if item != Augmentation(name=ORIGINAL)]
        chosen = AugmentationSet(
            name=spec.pop("name", path.stem), augmentations=(*base, *added), **spec
        )
        check_augmentations(chosen)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(
            f"{path} does not describe an augmentation set",
            expected="YAML as in docs/training.md",
            got=reason(error),
        ) from error
    return chosen


def _base(name: str | None, seed: int) -> tuple[Augmentation, ...]:
    if name is None:
        return (Augmentation(name=ORIGINAL),)
    if name not in NAMED_SETS:
        raise ValueError(f"extends must be {one_of(NAMED_SETS, str(name))}, got {name!r}")
    return augmentation_set(name, seed).augmentations


def check_augmentations(chosen: AugmentationSet) -> None:
    """Run every augmentation twice on a small image; reject one that fails or varies.

    Raises:
        DataError: names the augmentation and the fault.
    """
    gradient = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    for augmentation in chosen.augmentations:
        try:
            first, second = augmentation.apply(gradient), augmentation.apply(gradient)
        except DataError:
            raise
        except Exception as error:  # a user's parameters can fail in any way
            raise DataError(
                f"augmentation {augmentation.name!r} fails on a test image",
                expected="parameters that albumentations accepts",
                got=reason(error),
            ) from error
        if first.shape != gradient.shape or first.dtype != np.uint8:
            raise DataError(
                f"augmentation {augmentation.name!r} changes the image's size or type",
                expected="uint8 (32, 32, 3)",
                got=f"{first.dtype} {first.shape}",
            )
        if not np.array_equal(first, second):
            raise DataError(
                f"augmentation {augmentation.name!r} gives different bytes each time",
                remedy="Pin its parameters: [8, 8] instead of [0, 8].",
            )
