"""The effects of a mixed-effects model, and the history that it is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import solve

from augrank.arrays import Float32Array, Float64Array
from augrank.models.context import ContextColumn
from augrank.trust.posterior import Effects

RIDGE = 1e-3  # of the projection, whose effects are collinear
# Wider interactions are left out; XGBoost may still learn them.
MAX_EFFECTS = 600


@dataclass(frozen=True)
class Design:
    """The effects of a model; see ``Effects``. Their order: intercept, augmentation, context,
    interaction.
    """

    augmentations: int
    groups: tuple[NDArray[np.int64], ...]  # positions of the effects that share a scale
    center: Float32Array  # (C,) of the encoded context
    scale: Float32Array  # (C,)
    versions: bool  # whether the versions of an image have effects of their own

    @classmethod
    def of(
        cls,
        augmentations: int,
        columns: Sequence[ContextColumn],
        contexts: Float32Array,
        *,
        versions: bool = False,
    ) -> Self:
        """Choose the effects: as many as MAX_EFFECTS, narrow context columns first.

        Args:
            augmentations: number of augmentations.
            columns: the context's columns.
            contexts: (K, C) the distinct contexts; numeric columns are standardised by them.
            versions: the applied augmentation is not known, only recognised.
        """
        width = contexts.shape[1]
        center, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
        ends = np.cumsum([0, *(column.width for column in columns)])
        parts = [np.arange(start, end) for start, end in pairwise(ends)]
        for column, part in zip(columns, parts, strict=True):
            if column.kind == "numeric":
                values = contexts[:, part]
                center[part], scale[part] = values.mean(), max(float(values.std()), 1e-6)
        first = 1 + augmentations
        groups = [np.arange(1, first)]
        left = MAX_EFFECTS - first
        for part in sorted(parts, key=len):
            crossed = first + width + np.arange(augmentations)[:, None] * width + part
            for group in (first + part, crossed.ravel()):
                if len(group) <= left:
                    groups.append(group)
                    left -= len(group)
        return cls(augmentations, tuple(groups), center, scale, versions)

    @property
    def width(self) -> int:
        """The number of encoded context columns, C."""
        return len(self.center)

    @property
    def size(self) -> int:
        """The number of all effects; those in no group are zero."""
        return 1 + self.augmentations + self.width * (1 + self.augmentations)

    @property
    def active(self) -> NDArray[np.int64]:
        """The positions of the intercept and of the effects in groups, (D,)."""
        return np.concatenate([[0], *self.groups])

    def matrix(self, level: NDArray[np.int64], context: Float32Array) -> sparse.csr_array:
        """Return the active columns of the design matrix of rows, (N, D).

        Args:
            level: (N,) augmentation.
            context: (N, C), encoded.
        """
        count, (rows, width) = self.augmentations, context.shape
        one_hot = (np.ones(rows), (np.arange(rows), level))
        standard = sparse.coo_array((context - self.center) / self.scale)
        row, column = standard.coords
        crossed = (standard.data, (row, level[row] * width + column))
        parts = (
            np.ones((rows, 1)),
            sparse.coo_array(one_hot, shape=(rows, count)),
            standard,
            sparse.coo_array(crossed, shape=(rows, count * width)),
        )
        return sparse.csr_array(sparse.csc_array(sparse.hstack(parts))[:, self.active])

    def effects(self, stacked: Float64Array) -> Effects:
        """Split active effects (M, D) into their parts."""
        count, width = self.augmentations, self.width
        first, last = 1 + count, 1 + count + width
        parts = np.zeros((len(stacked), self.size), np.float32)
        parts[:, self.active] = stacked
        return Effects(
            parts[:, 0],
            parts[:, 1:first],
            parts[:, first:last],
            parts[:, last:].reshape(len(parts), count, width),
        )


@dataclass(frozen=True)
class History:
    """R outcomes; arrays (R,)."""

    embedding: NDArray[np.int64]  # number of the embedding
    level: NDArray[np.int64]  # augmentation
    context: NDArray[np.int64]  # row of the distinct contexts
    image: NDArray[np.int64]  # number of the original
    score: Float64Array  # of XGBoost, cross-fitted
    label: Float64Array  # 0 or 1
    weight: Float64Array  # number of outcomes

    def __getitem__(self, rows: NDArray[np.bool_]) -> "History":
        return History(*(getattr(self, each.name)[rows] for each in fields(self)))


def project(rows: sparse.csr_array, weight: Float64Array, margin: Float64Array) -> Float64Array:
    """Return the effects that explain margins best, by ridge regression, (D,).

    Args:
        rows: (R, D) of the design.
        weight: (R,) number of outcomes.
        margin: (R,) log odds.
    """
    weighted = sparse.diags_array(weight) @ rows
    penalty = np.full(rows.shape[1], RIDGE)
    penalty[0] = 1e-6
    normal = (rows.T @ weighted).toarray() + np.diag(penalty)
    return np.asarray(solve(normal, weighted.T @ margin, assume_a="pos"), np.float64)


def between_and_within(score: Float64Array, image: NDArray[np.int64]) -> Float64Array:
    """Return the mean score of each row's image, and the row's difference from it, (R, 2)."""
    mean = np.bincount(image, score) / np.maximum(np.bincount(image), 1)
    return np.stack([mean[image], score - mean[image]], axis=1)
