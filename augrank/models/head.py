"""The head of one target: an XGBoost model over what is known of an image and its campaign.

A head takes a row of ``[augmentation | augmentation_probs | features | context]``; its spec names
the parts. ``augmentation`` is the augmentation known to have been applied, one-hot.
``augmentation_probs`` are the backbone's probabilities of the augmentations, rounded to steps of
5 %; features are rounded to a fraction of their spread. Differences below these steps are noise of
the image and of the arithmetic: trees would split on it, and another engine would take the other
branch. ``augrank.trust`` turns the head's margin into a probability and its uncertainty.
"""

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from augrank.arrays import Float32Array
from augrank.errors import BundleError
from augrank.models.calibration import Calibration, NoCalibration
from augrank.models.targets import Target
from augrank.models.tree_ensemble import TreeEnsemble

if TYPE_CHECKING:
    import xgboost

HeadInput = Literal["augmentation", "augmentation_probs", "features", "context"]
PROBABILITY_STEPS = 20
FEW_ROWS = 64  # up to this many rows TreeEnsemble is faster than XGBoost


class HeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A head, as run.json and bundle.json describe it."""

    target: Target
    inputs: tuple[HeadInput, ...] = Field(min_length=1)
    width: int = Field(gt=0)  # columns of the model's input
    feature_step: float = Field(gt=0)  # features are rounded to multiples of this
    file: str  # relative to the run or the bundle, .ubj
    posterior: str  # the file of its posterior, .npz
    augmentation_known: bool = True  # in training, from the manifest; else it is recognised
    calibration: Calibration = NoCalibration()
    metrics: dict[str, Any] = Field(default_factory=dict)

    @property
    def ignores_image(self) -> bool:
        """Whether it needs no embedding: neither features nor the recognised augmentation."""
        return self.augmentation_known and {*self.inputs} <= {"augmentation", "context"}

    @property
    def tested_posterior(self) -> str:
        """The file of the posterior that the metrics are of, without the test split; runs only."""
        return str(PurePosixPath(self.posterior).with_suffix(".tested.npz"))


def import_xgboost_without_sklearn() -> None:
    """Import XGBoost without scikit-learn, which is slow to load and which no head needs.

    XGBoost loads scikit-learn if it is installed, as in AWS's images. Without it, XGBoost has
    no ``XGBClassifier`` in this process, so call this only in processes that augrank starts.
    """
    if not {"sklearn", "xgboost"} & sys.modules.keys():
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # as if it were not installed
        try:
            importlib.import_module("xgboost")
        finally:
            del sys.modules["sklearn"]


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
    """A loaded head, ready to score rows on one thread."""

    def __init__(self, spec: HeadSpec, booster: "xgboost.Booster") -> None:
        if booster.num_features() != spec.width:
            raise BundleError(
                f"the head of {spec.target.name} does not fit its description",
                expected=f"{spec.width} inputs",
                got=f"{booster.num_features()}",
                remedy="Export the run again.",
            )
        booster.set_param({"nthread": 1, "device": "cpu"})
        self.spec, self._booster, self._trees = spec, booster, TreeEnsemble.of(booster)

    @classmethod
    def load(cls, spec: HeadSpec, directory: Path) -> "Head":
        """Read the head's model file (XGBoost's UBJSON) from a run or a bundle."""
        import xgboost  # slow if scikit-learn is installed, and not needed for a spec

        booster = xgboost.Booster()
        try:
            booster.load_model(directory / spec.file)
        except xgboost.core.XGBoostError as error:
            raise BundleError(
                f"{directory / spec.file} is damaged",
                expected="a model of XGBoost",
                remedy="Restore it, or train and export again.",
            ) from error
        return cls(spec, booster)

    def margin(self, rows: HeadRows) -> Float32Array:
        """Return the log odds of rows as XGBoost gives them, float32 (N,)."""
        table = assemble(self.spec.inputs, rows, self.spec.feature_step)
        if self._trees is not None and len(table) <= FEW_ROWS:
            return self._trees.margin(table)
        margin: Float32Array = self._booster.inplace_predict(table, predict_type="margin")
        return margin
