"""Augmentations as data: a name and steps, with a hash."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, Field, field_validator

from augrank.images.augmentations.albumentations_ops import apply_albumentations
from augrank.images.augmentations.operations import OPERATIONS, OPERATIONS_VERSION
from augrank.images.decode import RgbImage

ORIGINAL = "original"


class Step(BaseModel, frozen=True, extra="forbid"):
    """One operation with its exact parameters; ``seed`` feeds operations that draw noise."""

    op: str
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0

    def apply(self, image: RgbImage) -> RgbImage:
        """Run the operation on uint8 (S, S, 3), RGB; the result has the same shape and type."""
        operation = OPERATIONS.get(self.op)
        if operation is not None:
            return operation(image, **self.params)
        return apply_albumentations(self.op, self.params, self.seed, image)


class Augmentation(BaseModel, frozen=True, extra="forbid"):
    """A named, deterministic image transformation."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    steps: tuple[Step, ...] = ()

    def apply(self, image: RgbImage) -> RgbImage:
        """Produce the candidate image.

        Args:
            image: uint8 (S, S, 3), RGB; never written to.

        Returns:
            uint8 (S, S, 3), RGB, contiguous; the image itself if there are no steps.
        """
        for step in self.steps:
            image = step.apply(image)
        return image

    @property
    def hash(self) -> str:
        """sha256 of name, operations, parameters, seeds and the operations' version."""
        return _hash(self)

    def parameters(self) -> list[dict[str, Any]]:
        """Return the steps as plain data, for answers and outcome records."""
        return [step.model_dump(exclude_defaults=True) for step in self.steps]


class AugmentationSet(BaseModel, frozen=True, extra="forbid"):
    """The augmentations that a backbone learns to recognise and a server offers, in order."""

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
