"""The outcomes of a history, counted, and their likelihood made normal."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from augrank.arrays import Float64Array
from training.heads.posterior.design import History


@dataclass(frozen=True)
class Counts:
    """Distinct rows of a history, with counts of their outcomes: arrays (R,), by version."""

    level: NDArray[np.int64]
    context: NDArray[np.int64]
    version: NDArray[np.int64]  # in 0 .. V - 1, ascending
    image: NDArray[np.int64]  # (V,) of each version, in 0 .. I - 1
    embedding: NDArray[np.int64]  # (V,) of each version
    version_level: NDArray[np.int64]  # (V,) augmentation of each version
    version_mean: Float64Array  # (I,) see ``History``; the mean of all images where unknown
    version_mean_known: NDArray[np.bool_]  # (I,)
    # (R, A + 2): image score, version score by augmentation, mean of the image's version scores.
    scores: Float64Array
    successes: Float64Array
    trials: Float64Array  # positive

    @classmethod
    def of(cls, history: History, image: NDArray[np.int64], augmentations: int) -> Self:
        """Merge rows of the same embedding, augmentation and context.

        Args:
            history: outcomes with weight.
            image: (R,) of each outcome, in 0 .. I - 1.
            augmentations: their number, A.
        """
        contexts = int(history.context.max()) + 1
        owner = image * (int(history.embedding.max()) + 1) + history.embedding
        version = np.unique(owner, return_inverse=True)[1]
        keys = (version * augmentations + history.level) * contexts + history.context
        _, kept, row = np.unique(keys, return_index=True, return_inverse=True)
        of_version = kept[np.unique(version[kept], return_index=True)[1]]  # a row of each
        level = history.level[kept]
        version_mean = np.empty(int(image.max()) + 1)
        version_mean[image] = history.version_mean
        known = np.isfinite(version_mean)
        version_mean[~known] = version_mean[known].mean() if known.any() else 0.0
        by_level = history.version_score[kept, None] * (level[:, None] == np.arange(augmentations))
        return cls(
            level,
            history.context[kept],
            version[kept],
            image[of_version],
            history.embedding[of_version],
            history.level[of_version],
            version_mean,
            known,
            np.column_stack([history.image_score[kept], by_level, version_mean[image[kept]]]),
            np.bincount(row, history.label * history.weight).astype(np.float64),
            np.bincount(row, history.weight).astype(np.float64),
        )


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Sums over R rows with a normal likelihood: ``target * log odds - omega / 2 * log odds^2``."""

    precision: Float64Array  # (D, D) of the coefficients
    pull: Float64Array  # (D,)
    rows: sparse.csr_array  # (V, D) sums of omega times the coefficients' rows, by version
    weight: Float64Array  # (V,) sums of omega
    target: Float64Array  # (V,) sums of target

    @classmethod
    def of(
        cls,
        counts: Counts,
        cells: sparse.csr_array,
        cell: NDArray[np.int64],
        omega: Float64Array,
        target: Float64Array,
    ) -> Self:
        """Sum.

        Args:
            counts: the rows.
            cells: (K, E) rows of the design matrix.
            cell: (R,) of each row.
            omega: (R,).
            target: (R,).
        """
        scores, (count, size) = counts.scores, cells.shape
        versions = len(counts.image)
        starts = np.searchsorted(counts.version, np.arange(versions + 1))
        by_cell = sparse.diags_array(np.bincount(cell, omega, count)) @ cells
        precision = np.empty((size + scores.shape[1], size + scores.shape[1]))
        precision[:size, :size] = (cells.T @ by_cell).toarray()
        for number, score in enumerate(scores.T, start=size):
            cross = cells.T @ np.bincount(cell, omega * score, count)
            precision[number, :size] = precision[:size, number] = cross
        precision[size:, size:] = scores.T @ (omega[:, None] * scores)
        by_version = sparse.csr_array((omega, cell, starts), shape=(versions, count)) @ cells
        of_scores = np.add.reduceat(omega[:, None] * scores, starts[:-1], axis=0)
        return cls(
            precision,
            np.append(cells.T @ np.bincount(cell, target, count), scores.T @ target),
            sparse.csr_array(sparse.hstack([by_version, sparse.csr_array(of_scores)])),
            np.add.reduceat(omega, starts[:-1]),
            np.add.reduceat(target, starts[:-1]),
        )
