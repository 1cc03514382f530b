"""What turns the features of an image into scores: a linear layer, or XGBoost's trees."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float32Array, read_arrays
from augrank.errors import BundleError, reason
from augrank.models.tree_ensemble import TreeEnsemble, read_trees

HeadKind = Literal["linear", "xgboost"]


class Scorer(Protocol):
    """Computes log odds from features."""

    def __call__(self, features: Float32Array) -> Float32Array:
        """Score features (N, F); return log odds up to a constant, float32 (N, K)."""


@dataclass(frozen=True)
class Linear:
    """A linear layer."""

    weight: Float32Array  # (K, F)
    bias: Float32Array  # (K,)

    def __call__(self, features: Float32Array) -> Float32Array:
        """Score features (N, F)."""
        return np.asarray(features @ self.weight.T + self.bias, np.float32)


@dataclass(frozen=True)
class Trees:
    """XGBoost's trees; features are rounded, see ``models/head.py``."""

    ensemble: TreeEnsemble  # of K outputs
    step: float  # that features are rounded to multiples of

    def __call__(self, features: Float32Array) -> Float32Array:
        """Score features (N, F)."""
        step = np.float32(self.step)
        return self.ensemble.margin(np.round(features / step) * step)


class HeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A head, as run.json and bundle.json describe it."""

    kind: HeadKind
    file: str  # weights and calibration, .npz; files are relative to the run or the bundle
    trees: str | None = None  # of kind xgboost: XGBoost's trees as arrays, .npz
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, relative to the run or the bundle."""
        return (self.file,) if self.trees is None else (self.file, self.trees, self.model)

    @property
    def model(self) -> str:
        """The file of XGBoost's model of the trees, .ubj, which servers do not read."""
        return str(PurePosixPath(self.file).with_suffix(".ubj"))


def read_scorer(
    spec: HeadSpec, directory: Path, name: str, outputs: int
) -> tuple[Scorer, dict[str, NDArray[Any]]]:
    """Read the scorer of a head, and all arrays of its file.

    Args:
        spec: of the head.
        directory: the run or the bundle.
        name: of the head, for messages.
        outputs: the number of scores of an image.

    Raises:
        BundleError: a file cannot be read, or does not fit.
    """
    file = directory / spec.file
    try:
        arrays = read_arrays(file)
        if spec.trees is None:
            scorer: Scorer = Linear(arrays["weight"], arrays["bias"])
            found = len(arrays["bias"])
        else:
            trees = read_trees(directory / spec.trees)
            scorer, found = Trees(trees, float(arrays["step"])), len(trees.base_margin)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(
            f"{file} cannot be read", got=reason(error), remedy="Export the run again."
        ) from error
    if found != outputs:
        raise BundleError(
            f"the head of {name} does not fit its description",
            expected=f"{outputs} scores of an image",
            got=str(found),
            remedy="Export the run again.",
        )
    return scorer, arrays


def without_array(file: Path, error: KeyError) -> BundleError:
    """Return the error of a head's file without one of its arrays."""
    return BundleError(
        f"{file} cannot be read", got=f"no {error.args[0]!r}", remedy="Export the run again."
    )
