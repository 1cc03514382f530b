"""What turns the features of an image into scores: a linear layer, or XGBoost's trees."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float32Array
from augrank.errors import BundleError, reason
from augrank.models.tree_ensemble import TreeEnsemble

if TYPE_CHECKING:
    import xgboost

HeadKind = Literal["linear", "xgboost"]
FEW_ROWS = 64  # up to this many rows TreeEnsemble is faster than XGBoost


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


class Trees:
    """XGBoost's trees, a group for each score; features are rounded, see ``models/head.py``."""

    def __init__(self, booster: "xgboost.Booster", step: float) -> None:
        booster.set_param({"nthread": 1, "device": "cpu"})
        self._booster, self._step = booster, np.float32(step)
        self._groups = TreeEnsemble.by_output(booster)

    def __call__(self, features: Float32Array) -> Float32Array:
        """Score features (N, F)."""
        rounded = np.round(features / self._step) * self._step
        if self._groups is not None and len(rounded) <= FEW_ROWS:
            return np.stack([group.margin(rounded) for group in self._groups], axis=1)
        margin: Float32Array = self._booster.inplace_predict(rounded, predict_type="margin")
        return margin.reshape(len(rounded), -1)


class HeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A head, as run.json and bundle.json describe it."""

    kind: HeadKind
    file: str  # relative to the run or the bundle: weights and calibration, .npz
    trees: str | None = None  # of kind xgboost, .ubj
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, relative to the run or the bundle."""
        return (self.file, self.trees) if self.trees is not None else (self.file,)


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
        with np.load(file, allow_pickle=False) as content:
            arrays = dict(content)
        if spec.trees is None:
            scorer: Scorer = Linear(arrays["weight"], arrays["bias"])
            found = len(arrays["bias"])
        else:
            booster = _read_booster(directory / spec.trees)
            scorer, found = Trees(booster, float(arrays["step"])), outputs
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
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


def _read_booster(file: Path) -> "xgboost.Booster":
    import xgboost  # slow, and not needed for a linear head

    booster = xgboost.Booster()
    try:
        booster.load_model(file)
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"{file.name} is not a model of XGBoost") from error
    return booster
