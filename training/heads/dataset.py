"""The dataset of heads: rows of embedding and context with outcomes, split by original."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.contracts.run import Precision
from augrank.models.context import ContextColumn
from augrank.models.head import HeadInput, HeadRows, assemble
from training.data.splits import SPLITS, Split

if TYPE_CHECKING:  # these import torch and pandas, which takes seconds
    from training.backbone.embed import EmbeddingTable
    from training.data.manifest.manifest import Manifest
from training.data.manifest.targets import Outcomes

UNCHANGED = 0  # number of the augmentation ``original`` in every set
CHUNK_CELLS = 2**21  # numbers of a chunk: 8 MiB of float32


@dataclass(frozen=True)
class Inputs:
    """The distinct embeddings and encoded contexts, which rows index."""

    table: "EmbeddingTable"
    contexts: NDArray[np.float32]  # (K, C)
    columns: tuple[ContextColumn, ...] = ()  # that the contexts encode
    augmentation_known: bool = True  # the manifest says which augmentation was applied
    # Row of the embedding table of each original's unchanged image; -1 if it was not embedded.
    unchanged: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    graph: Precision = "fp32"  # that embedded the images
    # By target, the inputs that were selected with another graph's embeddings.
    selected: Mapping[str, tuple[HeadInput, ...]] = field(default_factory=dict)

    @property
    def catalogue(self) -> NDArray[np.int64]:
        """Numbers of the originals whose unchanged image is known: the catalogue's rows."""
        return np.flatnonzero(self.unchanged >= 0)

    @functools.cached_property
    def feature_step(self) -> float:
        """The quantisation step: the power of two nearest to a quarter of the median deviation.

        Rounding then moves a feature by at most about an eighth of its standard deviation.
        """
        spread = float(np.median(_deviation(self.table.features)))
        return 2.0 ** round(math.log2(spread / 4)) if spread > 0 else 1.0

    @property
    def augmentations(self) -> int:
        """The number of augmentations, A."""
        return int(self.table.logits.shape[1])

    def width(self, inputs: Sequence[HeadInput]) -> int:
        """Return the number of columns of these inputs."""
        parts = {
            "augmentation": self.table.logits,
            "augmentation_probs": self.table.logits,
            "features": self.table.features,
            "context": self.contexts,
        }
        return sum(parts[name].shape[1] for name in inputs)

    def levels(self, rows: "OutcomeRows") -> NDArray[np.int64]:
        """Return the applied augmentation of each row, or the recognised one if unknown, (R,)."""
        if self.augmentation_known:
            return rows.augmentation
        recognised: NDArray[np.int64] = np.argmax(self.table.logits, axis=1)
        return recognised[rows.embedding]

    def unchanged_rows(self, rows: "OutcomeRows") -> "OutcomeRows":
        """Return the rows as if their unchanged images had been shown; embedding -1 if unknown."""
        return replace(
            rows,
            embedding=np.append(self.unchanged, -1)[np.minimum(rows.original, len(self.unchanged))],
            augmentation=np.full(len(rows), UNCHANGED),
        )

    def assemble(
        self, inputs: Sequence[HeadInput], rows: "OutcomeRows", part: slice = slice(None)
    ) -> NDArray[np.float32]:
        """Assemble the rows that heads are trained on, float32 (R, width)."""
        head_rows = self.rows(rows, part, with_features="features" in inputs)
        return assemble(tuple(inputs), head_rows, self.feature_step)

    def rows(
        self, rows: "OutcomeRows", part: slice = slice(None), *, with_features: bool = True
    ) -> HeadRows:
        """Return all inputs of outcomes, or of a part of them; features are many, and may go."""
        embedding = rows.embedding[part]
        features = self.table.features if with_features else self.table.features[:, :0]
        return HeadRows(
            augmentation=rows.augmentation[part],
            logits=self.table.logits[embedding],
            features=features[embedding],
            context=self.contexts[rows.context[part]],
        )


@dataclass(frozen=True)
class Distinct:
    """The distinct shown images in R rows: embedding, augmentation and context."""

    first: NDArray[np.int64]  # (N,) a row of each
    number: NDArray[np.int64]  # (R,) of each row's shown image


@dataclass(frozen=True)
class OutcomeRows:
    """The outcomes of one target in one split; arrays (R,)."""

    embedding: NDArray[np.int64]  # row of the embedding table
    augmentation: NDArray[np.int64]  # index of the augmentation that was applied
    context: NDArray[np.int64]  # row of the distinct contexts
    original: NDArray[np.int64]  # index of the image's original
    label: Float64Array  # 0 or 1
    weight: Float64Array  # number of outcomes
    truth: Float64Array | None  # true probabilities, if known

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "OutcomeRows":
        return OutcomeRows(
            self.embedding[rows],
            self.augmentation[rows],
            self.context[rows],
            self.original[rows],
            self.label[rows],
            self.weight[rows],
            None if self.truth is None else self.truth[rows],
        )

    def joined(self, other: "OutcomeRows") -> "OutcomeRows":
        """Return these rows and those of another split."""
        truth = (
            None
            if self.truth is None or other.truth is None
            else np.concatenate([self.truth, other.truth])
        )
        return OutcomeRows(
            np.concatenate([self.embedding, other.embedding]),
            np.concatenate([self.augmentation, other.augmentation]),
            np.concatenate([self.context, other.context]),
            np.concatenate([self.original, other.original]),
            np.concatenate([self.label, other.label]),
            np.concatenate([self.weight, other.weight]),
            truth,
        )

    @property
    def share_of_ones(self) -> float:
        """The weighted mean of the labels."""
        return float(np.average(self.label, weights=self.weight))

    def distinct(self) -> Distinct:
        """Return the distinct shown images of the rows."""
        if not len(self):
            return Distinct(*np.empty((2, 0), np.int64))
        augmentations, contexts = int(self.augmentation.max()) + 1, int(self.context.max()) + 1
        keys = (self.embedding * augmentations + self.augmentation) * contexts + self.context
        _, first, number = np.unique(keys, return_index=True, return_inverse=True)
        return Distinct(first, number)

    def merged(self) -> "OutcomeRows":
        """Return one row for all outcomes that are alike, in an order that theirs does not change.

        Alike are outcomes of the same shown image with the same label, and the same true
        probability where it is known. A million sends of a few images are fitted as fast as one
        row for each, and to the last digit as well.
        """
        if not len(self):
            return self
        number = 2 * self.distinct().number + (self.label > 0)
        if self.truth is not None:
            truths, truth = np.unique(self.truth, return_inverse=True)
            number = number * len(truths) + truth
        _, first, row = np.unique(number, return_index=True, return_inverse=True)
        return replace(self[first], weight=np.bincount(row, self.weight).astype(np.float64))

    def chunks(self, width: int, chunks: int = 1) -> Iterator[slice]:
        """Yield slices of rows with ``width`` columns, each of at most some chunks."""
        return _chunks(len(self), width, chunks)


@dataclass(frozen=True)
class TrainingRows:
    """The outcomes that a head is fitted to: of the training and of the validation split."""

    rows: OutcomeRows
    held_out: NDArray[np.bool_]  # (R,) of the validation split
    is_draw: bool = False

    @classmethod
    def of(cls, parts: Mapping[Split, OutcomeRows]) -> "TrainingRows":
        """Join both splits."""
        train, validation = parts["train"], parts["validation"]
        rows = train.joined(validation)
        return cls(rows, np.arange(len(rows)) >= len(train))

    def draw(self, most: int, seed: int) -> "TrainingRows":
        """Return all outcomes of about this number of shown images, drawn in each split.

        These rows themselves if they have no more images, or if the draw for training has
        outcomes of one kind only.
        """
        distinct = self.rows.distinct()
        share = most / max(1, len(distinct.first))
        if share >= 1:
            return self
        kept = np.zeros(len(self.rows), np.bool_)
        rng = np.random.default_rng(seed)
        for inside in (~self.held_out, self.held_out):
            shown = np.unique(distinct.number[inside & (self.rows.weight > 0)])
            chosen = rng.choice(shown, int(np.ceil(share * len(shown))), replace=False)
            kept |= inside & np.isin(distinct.number, chosen)
        drawn = TrainingRows(self.rows[kept], self.held_out[kept], is_draw=True)
        ones = drawn.rows[~drawn.held_out].share_of_ones
        return drawn if 0 < ones < 1 else self


def _chunks(rows: int, width: int, chunks: int = 1) -> Iterator[slice]:
    """Yield slices of at most ``chunks`` times CHUNK_CELLS numbers, or of one row."""
    step = max(1, chunks * CHUNK_CELLS // width)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def _deviation(features: NDArray[np.float32]) -> Float64Array:
    """Return the standard deviation of each column, (F,), of (M, F), computed in chunks."""
    total = squares = np.zeros(features.shape[1])
    for part in _chunks(*features.shape):
        values = features[part].astype(np.float64)
        total, squares = total + values.sum(axis=0), squares + (values**2).sum(axis=0)
    mean: Float64Array = total / len(features)
    return np.sqrt(np.maximum(squares / len(features) - mean**2, 0))


def split_outcomes(
    outcomes: "Outcomes",
    manifest: "Manifest",
    original_split: NDArray[np.int8],
    embedding: NDArray[np.int64],
    context: NDArray[np.int64],
) -> dict[Split, OutcomeRows]:
    """Split the outcomes of one target, and merge those that are alike.

    Args:
        outcomes: the target's outcomes.
        manifest: gives the original of each row.
        original_split: int8 (originals,).
        embedding: int64 (manifest rows,), row of the embedding table.
        context: int64 (manifest rows,), row of the distinct contexts.
    """
    original = manifest.original[outcomes.row]
    row_split = original_split[original]
    parts: dict[Split, OutcomeRows] = {}
    for number, split in enumerate(SPLITS):
        inside = row_split == number
        row = outcomes.row[inside]
        parts[split] = OutcomeRows(
            embedding[row],
            manifest.label[row],
            context[row],
            original[inside],
            outcomes.label[inside].astype(np.float64),
            outcomes.weight[inside].astype(np.float64),
            None if outcomes.truth is None else outcomes.truth[inside].astype(np.float64),
        ).merged()
    return parts
