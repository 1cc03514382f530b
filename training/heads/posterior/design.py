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
# The rest is left to XGBoost. A sweep of the sampler costs the third power of this.
MAX_EFFECTS = 300


@dataclass(frozen=True)
class Cells:
    """The distinct pairs of augmentation and context in R rows."""

    matrix: sparse.csr_array  # (K, D), the pairs' rows of the design matrix
    number: NDArray[np.int64]  # (R,) pair of each row

    def __call__(self, effects: Float64Array) -> Float64Array:
        """Return the log odds that effects (D,) give the rows, (R,)."""
        return np.asarray((self.matrix @ effects)[self.number])

    def project(self, weight: Float64Array, margin: Float64Array) -> Float64Array:
        """Return the effects that explain margins best, by ridge regression, (D,).

        Args:
            weight: (R,) number of outcomes.
            margin: (R,) log odds.
        """
        count, width = self.matrix.shape
        weights = np.bincount(self.number, weight, count)
        sums = np.bincount(self.number, weight * margin, count)
        penalty = np.full(width, RIDGE)
        penalty[0] = 1e-6
        normal = (self.matrix.T @ (sparse.diags_array(weights) @ self.matrix)).toarray()
        normal[np.diag_indices(width)] += penalty
        return np.asarray(solve(normal, self.matrix.T @ sums, assume_a="pos"), np.float64)


@dataclass(frozen=True)
class Design:
    """The effects of a model; see ``Effects``. Their order: intercept, augmentation, context,
    interaction.
    """

    augmentations: int
    groups: tuple[NDArray[np.int64], ...]  # positions of the effects that share a scale
    center: Float32Array  # (C,) of the encoded context
    scale: Float32Array  # (C,)
    left_out: tuple[str, ...] = ()  # columns with effects that XGBoost alone may learn

    @classmethod
    def of(
        cls, augmentations: int, columns: Sequence[ContextColumn], contexts: Float32Array
    ) -> Self:
        """Choose at most MAX_EFFECTS effects: of columns first, then interactions; narrow first.

        Args:
            augmentations: number of augmentations.
            columns: the context's columns.
            contexts: (K, C) the distinct contexts; numeric columns are standardised by them.
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
        levels = np.arange(augmentations)[:, None]
        groups, left, left_out = [np.arange(1, first)], MAX_EFFECTS - first, set[str]()
        by_width = sorted(zip(parts, columns, strict=True), key=lambda pair: len(pair[0]))
        effects = [(first + part, column.name) for part, column in by_width]
        effects += [
            ((first + width + levels * width + part).ravel(), column.name)
            for part, column in by_width
        ]
        for group, name in effects:
            if len(group) <= left:
                groups.append(group)
                left -= len(group)
            else:
                left_out.add(name)
        return cls(augmentations, tuple(groups), center, scale, tuple(sorted(left_out)))

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

    @property
    def active_groups(self) -> list[slice]:
        """The groups, as positions among the active effects; none is empty."""
        ends = np.cumsum([1, *map(len, self.groups)]).tolist()
        return [slice(start, end) for start, end in pairwise(ends) if start < end]

    def cells(
        self, level: NDArray[np.int64], context: NDArray[np.int64], contexts: Float32Array
    ) -> Cells:
        """Return the cells of rows.

        Args:
            level: (R,) augmentation of each row.
            context: (R,) row of ``contexts``.
            contexts: (K, C) the distinct contexts, encoded.
        """
        keys, number = np.unique(level * len(contexts) + context, return_inverse=True)
        levels, rows = np.divmod(keys, max(1, len(contexts)))
        return Cells(self._matrix(levels, contexts[rows]), number)

    def _matrix(self, level: NDArray[np.int64], context: Float32Array) -> sparse.csr_array:
        """Return the active columns of the design matrix of rows, (N, D)."""
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
    image_score: Float64Array  # score of the image as it is
    version_score: Float64Array  # score of the row less that of the image
    # Mean of the version scores of the image's outcomes, less what its own score lets expect; NaN
    # if only the unchanged version was shown.
    version_mean: Float64Array
    label: Float64Array  # 0 or 1
    weight: Float64Array  # number of outcomes

    def __getitem__(self, rows: NDArray[np.bool_]) -> "History":
        return History(*(getattr(self, each.name)[rows] for each in fields(self)))

    def joined(self, other: "History") -> "History":
        """Return these outcomes and others."""
        return History(
            *(
                np.concatenate([getattr(self, each.name), getattr(other, each.name)])
                for each in fields(self)
            )
        )
