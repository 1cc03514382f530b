"""The head of one label: features of an image become probabilities of the label's classes.

A linear head is one matrix product; an XGBoost head walks one group of trees per class. Their
log odds are divided by a temperature (Guo et al., 2017), which was fitted to images that neither
the network nor the head had seen, and so were the scores that prediction sets are made with.

A prediction set holds the classes that are probable enough: those whose score, 1 - p, is at most a
quantile of the scores that the right classes of the calibration images had. It has the right class
for the stated share of images (split conformal prediction; Sadinle et al., 2019), if they are like
those. The most probable class is always in it.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float32Array, Float64Array
from augrank.errors import BundleError, reason
from augrank.models.tree_ensemble import TreeEnsemble

if TYPE_CHECKING:
    import xgboost

HeadKind = Literal["linear", "xgboost"]
FEW_ROWS = 64  # up to this many rows TreeEnsemble is faster than XGBoost


class LabelHeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A head, as run.json and bundle.json describe it."""

    label: str
    classes: tuple[str, ...] = Field(min_length=2)
    kind: HeadKind
    file: str  # relative to the run or the bundle: weights and calibration, .npz
    trees: str | None = None  # of kind xgboost, .ubj
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        """Its files, relative to the run or the bundle."""
        return (self.file, self.trees) if self.trees is not None else (self.file,)


@dataclass(frozen=True)
class LabelCalibration:
    """What was fitted to the calibration images.

    Attributes:
        temperature: that log odds are divided by.
        scores: (n,) 1 - p of the right class of each image, ascending.
    """

    temperature: float
    scores: Float32Array

    def threshold(self, coverage: float) -> float:
        """Return the least probability of a class in a set; below 0 if too few images are known.

        Args:
            coverage: share of images whose set has the right class.
        """
        rank = math.ceil((len(self.scores) + 1) * coverage)
        if rank > len(self.scores):
            return -1.0
        return 1.0 - float(self.scores[rank - 1])


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
    """XGBoost's trees, a group for each class; features are rounded, see ``models/head.py``."""

    def __init__(self, booster: "xgboost.Booster", step: float) -> None:
        booster.set_param({"nthread": 1, "device": "cpu"})
        self._booster, self._step = booster, np.float32(step)
        self._groups = TreeEnsemble.by_class(booster)

    def __call__(self, features: Float32Array) -> Float32Array:
        """Score features (N, F)."""
        rounded = np.round(features / self._step) * self._step
        if self._groups is not None and len(rounded) <= FEW_ROWS:
            return np.stack([group.margin(rounded) for group in self._groups], axis=1)
        margin: Float32Array = self._booster.inplace_predict(rounded, predict_type="margin")
        return margin


class LabelHead:
    """A loaded head. Thread-safe."""

    def __init__(self, spec: LabelHeadSpec, scorer: Scorer, calibration: LabelCalibration) -> None:
        self.spec, self._scorer, self.calibration = spec, scorer, calibration

    @classmethod
    def load(cls, spec: LabelHeadSpec, directory: Path) -> Self:
        """Read the files of a head from a run or a bundle.

        Raises:
            BundleError: a file cannot be read, or does not fit the description.
        """
        file = directory / spec.file
        try:
            with np.load(file, allow_pickle=False) as arrays:
                calibration = LabelCalibration(float(arrays["temperature"]), arrays["scores"])
                if spec.trees is None:
                    scorer: Scorer = Linear(arrays["weight"], arrays["bias"])
                    outputs = len(arrays["bias"])
                else:
                    booster = _read_booster(directory / spec.trees)
                    scorer = Trees(booster, float(arrays["step"]))
                    outputs = len(spec.classes)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BundleError(
                f"{file} cannot be read", got=reason(error), remedy="Export the run again."
            ) from error
        if outputs != len(spec.classes):
            raise BundleError(
                f"the head of {spec.label} does not fit its description",
                expected=f"{len(spec.classes)} classes",
                got=str(outputs),
                remedy="Export the run again.",
            )
        return cls(spec, scorer, calibration)

    def probabilities(self, features: Float32Array) -> Float64Array:
        """Return the probabilities of the classes, float64 (N, K).

        Args:
            features: float32 (N, F).
        """
        return softmax(self._scorer(features), self.calibration.temperature)

    def sets(self, probabilities: Float64Array, coverage: float) -> NDArray[np.bool_]:
        """Return which classes are in the prediction sets, (N, K).

        Args:
            probabilities: (N, K).
            coverage: share of images whose set has the right class.
        """
        # Stored as float32, whose rounding must not exclude a class that is at the threshold.
        inside = probabilities >= self.calibration.threshold(coverage) - 1e-6
        inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
        return np.asarray(inside, np.bool_)


def softmax(scores: Float32Array, temperature: float) -> Float64Array:
    """Return probabilities of log odds (N, K) at a temperature, float64 (N, K)."""
    tempered = scores.astype(np.float64) / temperature
    shares = np.exp(tempered - tempered.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _read_booster(file: Path) -> "xgboost.Booster":
    import xgboost  # slow, and not needed for a linear head

    booster = xgboost.Booster()
    try:
        booster.load_model(file)
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"{file.name} is not a model of XGBoost") from error
    return booster
