"""The head of one target: an XGBoost model over what is known of an image and its campaign.

A head takes a row of ``[augmentation | augmentation_probs | features | context]``; its spec names
the parts. ``augmentation`` is the augmentation known to have been applied, one-hot.
``augmentation_probs`` are the backbone's probabilities of the augmentations, rounded to steps of
5 %; features are rounded to a fraction of their spread. Differences below these steps are noise of
the image and of the arithmetic: trees would split on it, and another engine would take the other
branch. ``augrank.trust`` turns the head's margin into a probability and its uncertainty.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float32Array
from augrank.errors import BundleError
from augrank.models.calibration import Calibration, NoCalibration
from augrank.models.targets import Target
from augrank.models.tree_ensemble import TreeEnsemble, read_trees

HeadInput = Literal["augmentation", "augmentation_probs", "features", "context"]
PROBABILITY_STEPS = 20


class HeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A head, as run.json and bundle.json describe it."""

    target: Target
    inputs: tuple[HeadInput, ...] = Field(min_length=1)
    width: int = Field(gt=0)  # columns of the model's input
    feature_step: float = Field(gt=0)  # features are rounded to multiples of this
    file: str  # of XGBoost's model, .ubj; files are relative to the run or the bundle
    trees: str  # of the same as arrays, which servers read, .npz
    posterior: str  # of its posterior, .npz
    augmentation_known: bool = True  # in training, from the manifest; else it is recognised
    calibration: Calibration = NoCalibration()
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def ignores_image(self) -> bool:
        """Whether it needs no embedding: neither features nor the recognised augmentation."""
        return self.augmentation_known and {*self.inputs} <= {"augmentation", "context"}

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, relative to the run or the bundle."""
        return self.file, self.trees, self.posterior

    @property
    def tested_posterior(self) -> str:
        """The file of the posterior that the metrics are of, without the test split; runs only."""
        return str(PurePosixPath(self.posterior).with_suffix(".tested.npz"))


@dataclass(frozen=True)
class HeadRows:
    """The possible inputs of N rows."""

    augmentation: NDArray[np.int64]  # (N,) index of the augmentation that was applied
    logits: Float32Array  # (N, A)
    features: Float32Array  # (N, F)
    context: Float32Array  # (N, C), or (C,) for one context for all rows

    def __len__(self) -> int:
        return len(self.logits)

    def levels(self, *, known: bool) -> NDArray[np.int64]:
        """Return the applied augmentation of each row, (N,), or the recognised one."""
        return self.augmentation if known else np.argmax(self.logits, axis=1)


def assemble(inputs: tuple[HeadInput, ...], rows: HeadRows, feature_step: float) -> Float32Array:
    """Concatenate the named parts, in the order of ``inputs``.

    Args:
        inputs: the parts that a head was trained on.
        rows: all parts.
        feature_step: features are rounded to multiples of this.

    Returns:
        float32 (N, width), C-contiguous.
    """
    count, augmentations = rows.logits.shape
    widths = {
        "augmentation": augmentations,
        "augmentation_probs": augmentations,
        "features": rows.features.shape[-1],
        "context": rows.context.shape[-1],
    }
    ends = np.cumsum([widths[name] for name in inputs]).tolist()
    table = np.empty((count, ends[-1]), np.float32)
    for name, start, end in zip(inputs, [0, *ends], ends, strict=False):
        part = table[:, start:end]
        if name == "augmentation":
            part[:] = 0
            part[np.arange(count), rows.augmentation] = 1
        elif name == "augmentation_probs":
            part[:] = augmentation_probs(rows.logits)
        elif name == "features":
            np.round(rows.features / np.float32(feature_step), out=part)
            part *= np.float32(feature_step)
        else:
            part[:] = rows.context
    return table


def augmentation_probs(logits: Float32Array) -> Float32Array:
    """Return the softmax of logits float32 (N, A), rounded to multiples of 1/20."""
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    rounded: Float32Array = np.round(shares * PROBABILITY_STEPS) / np.float32(PROBABILITY_STEPS)
    return rounded


class Head:
    """A loaded head, ready to score rows on one thread. Thread-safe.

    Args:
        spec: its description.
        trees: of its model.

    Raises:
        BundleError: they do not fit each other.
    """

    def __init__(self, spec: HeadSpec, trees: TreeEnsemble) -> None:
        if trees.width != spec.width or len(trees.base_margin) != 1:
            raise BundleError(
                f"the head of {spec.target.name} does not fit its description",
                expected=f"{spec.width} inputs, one output",
                got=f"{trees.width}, {len(trees.base_margin)}",
                remedy="Export the run again.",
            )
        self.spec, self._trees = spec, trees

    @classmethod
    def load(cls, spec: HeadSpec, directory: Path) -> "Head":
        """Read the head's trees from a run or a bundle.

        Raises:
            BundleError: they cannot be read, or do not fit the description.
        """
        return cls(spec, read_trees(directory / spec.trees))

    def margin(self, rows: HeadRows) -> Float32Array:
        """Return the log odds of rows as XGBoost gives them, float32 (N,)."""
        table = assemble(self.spec.inputs, rows, self.spec.feature_step)
        return self._trees.margin(table)[:, 0]
