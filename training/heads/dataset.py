"""What heads learn from: rows of embedding and context with their outcomes, split by original."""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augrank.models.head import HeadInput, assemble
from training.data.splits import SPLITS, Split

if TYPE_CHECKING:  # they import torch and pandas, which takes seconds, and heads need neither
    from training.backbone.embed import EmbeddingTable
    from training.data.manifest.manifest import Manifest, Outcomes

CHUNK_CELLS = 2**25  # numbers assembled at a time: 128 MiB of float32
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Inputs:
    """Embeddings and encoded contexts, each once, that rows point into."""

    table: "EmbeddingTable"
    contexts: NDArray[np.float32]  # (K, C)

    @functools.cached_property
    def feature_step(self) -> float:
        """The power of two nearest to a quarter of the features' median spread.

        So rounding moves a feature by about an eighth of its spread at most.
        """
        spread = float(np.median(_deviation(self.table.features)))
        return 2.0 ** round(math.log2(spread / 4)) if spread > 0 else 1.0

    def width(self, inputs: Sequence[HeadInput]) -> int:
        """How many numbers a row of these inputs has."""
        parts = {
            "augmentation_probs": self.table.logits,
            "features": self.table.features,
            "context": self.contexts,
        }
        return sum(parts[name].shape[1] for name in inputs)

    def assemble(
        self,
        inputs: Sequence[HeadInput],
        embedding: NDArray[np.int64],
        context: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Rows as heads eat them, float32 (R, width)."""
        return assemble(
            tuple(inputs),
            logits=self.table.logits[embedding],
            features=self.table.features[embedding],
            context=self.contexts[context],
            feature_step=self.feature_step,
        )


@dataclass(frozen=True)
class OutcomeRows:
    """The outcomes of one target in one split; arrays (R,)."""

    embedding: NDArray[np.int64]  # row of the embedding table
    context: NDArray[np.int64]  # row of the distinct contexts
    original: NDArray[np.int64]  # whose image it is
    label: Floats  # 0 or 1
    weight: Floats
    truth: Floats | None  # true probabilities, where known

    def __len__(self) -> int:
        return len(self.label)

    @property
    def share_of_ones(self) -> float:
        """Weighted mean of the labels."""
        return float(np.average(self.label, weights=self.weight))

    def chunks(self, width: int) -> Iterator[slice]:
        """Slices of rows of ``width`` numbers."""
        return _chunks(len(self), width)


def _chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows of ``width`` numbers, at most CHUNK_CELLS numbers each, or one row."""
    step = max(1, CHUNK_CELLS // width)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _deviation(features: NDArray[np.float32]) -> Floats:
    """Standard deviation of each column, (F,), of (M, F), read a part at a time."""
    total = squares = np.zeros(features.shape[1])
    for part in _chunks(*features.shape):
        values = features[part].astype(np.float64)
        total, squares = total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean: Floats = total / len(features)
    return np.sqrt(np.maximum(squares / len(features) - mean**2, 0))


def split_outcomes(
    outcomes: "Outcomes",
    manifest: "Manifest",
    original_split: NDArray[np.int8],
    embedding: NDArray[np.int64],
    context: NDArray[np.int64],
) -> dict[Split, OutcomeRows]:
    """The rows of one target, by split.

    Args:
        outcomes: of the target.
        manifest: says which original each row belongs to.
        original_split: int8 (originals,).
        embedding: int64 (manifest rows,), into the embedding table.
        context: int64 (manifest rows,), into the distinct contexts.
    """
    original = manifest.original[outcomes.row]
    side = original_split[original]
    parts: dict[Split, OutcomeRows] = {}
    for number, split in enumerate(SPLITS):
        here = side == number
        row = outcomes.row[here]
        parts[split] = OutcomeRows(
            embedding[row],
            context[row],
            original[here],
            outcomes.label[here],
            outcomes.weight[here],
            None if outcomes.truth is None else outcomes.truth[here],
        )
    return parts
