"""Judge graphs by what a user would lose by them.

A graph may be a server's choice if it is as good as fp32 on held-out data, each with its own heads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from training.common.metrics import clustered_mean

# Differences below these cost nobody anything; larger ones may be the chance of the test split.
EQUAL_LOSS = 0.005  # of the loss itself
EQUAL_ACCURACY = 0.002  # share of images whose augmentation is recognised
MAX_REGRET = 0.005  # more than fp32's: mean probability that is lost by following answers


@dataclass(frozen=True, eq=False)
class HeldOut:
    """How one graph and its heads do on held-out data; rows are the same for every graph.

    Attributes:
        correct: (N,) whether the augmentation of each test image was recognised.
        file: (N,) number of its file.
        loss: (R,) log loss of each outcome of the test split, of all targets.
        weight: (R,) so that every target counts the same.
        original: (R,) number of its original.
        regret: mean of the targets'; None without true probabilities.
    """

    correct: NDArray[np.bool_]
    file: NDArray[np.int64]
    loss: Float64Array
    weight: Float64Array
    original: NDArray[np.int64]
    regret: float | None

    @property
    def mean_loss(self) -> float:
        """The mean of the targets' log losses."""
        return float(np.average(self.loss, weights=self.weight))


def shortfalls(graph: HeldOut, exact: HeldOut) -> tuple[str, ...]:
    """Describe in what a graph is worse than fp32; empty if it is as good.

    Differences are paired, and count if they exceed both what matters and their standard error
    (the one-standard-error rule of Breiman et al., 1984), clustered by original.
    """
    found = []
    more, error = clustered_mean(graph.loss - exact.loss, exact.weight, exact.original)
    if more > max(error, EQUAL_LOSS * exact.mean_loss):
        found.append(
            f"log loss {more:.4f} higher than fp32's {exact.mean_loss:.4f} (standard error "
            f"{error:.4f})"
        )
    wrong = exact.correct.astype(np.float64) - graph.correct
    fewer, error = clustered_mean(wrong, np.ones(len(wrong)), exact.file)
    if fewer > max(error, EQUAL_ACCURACY):
        found.append(f"recognises {fewer:.2%} fewer augmentations (standard error {error:.2%})")
    if graph.regret is not None and exact.regret is not None:
        lost = graph.regret - exact.regret
        if lost > MAX_REGRET:
            found.append(f"regret {lost:.4f} higher")
    return tuple(found)
