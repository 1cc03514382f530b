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


@dataclass(frozen=True)
class Comparison:
    """How a graph differs from fp32 on held-out data.

    Differences are paired, with standard errors clustered by original (of recognition, by file).
    """

    log_loss: float  # more than fp32's mean loss
    log_loss_error: float
    fp32_log_loss: float
    unrecognised: float  # share of augmentations that fp32 recognises and the graph does not, less
    unrecognised_error: float  # those that the graph alone recognises
    regret: float | None  # more than fp32's

    @classmethod
    def of(cls, graph: HeldOut, exact: HeldOut) -> "Comparison":
        """Compare a graph with fp32."""
        more, error = clustered_mean(graph.loss - exact.loss, exact.weight, exact.original)
        wrong = exact.correct.astype(np.float64) - graph.correct
        fewer, fewer_error = clustered_mean(wrong, np.ones(len(wrong)), exact.file)
        regret = None
        if graph.regret is not None and exact.regret is not None:
            regret = graph.regret - exact.regret
        return cls(more, error, exact.mean_loss, fewer, fewer_error, regret)

    def shortfalls(self) -> tuple[str, ...]:
        """Describe in what the graph is worse; empty if it is as good.

        A loss counts if it exceeds both what matters and its standard error (the one-standard-error
        rule of Breiman et al., 1984). Of a few hundred images, two decide that error, so
        recognition counts if it is worse than what matters by more than its standard error.
        """
        found = []
        if self.log_loss > max(self.log_loss_error, EQUAL_LOSS * self.fp32_log_loss):
            found.append(
                f"log loss {self.log_loss:.4f} higher than fp32's {self.fp32_log_loss:.4f} "
                f"(standard error {self.log_loss_error:.4f})"
            )
        if self.unrecognised - self.unrecognised_error > EQUAL_ACCURACY:
            found.append(
                f"recognises {self.unrecognised:.2%} fewer augmentations "
                f"(standard error {self.unrecognised_error:.2%})"
            )
        if self.regret is not None and self.regret > MAX_REGRET:
            found.append(f"regret {self.regret:.4f} higher")
        return tuple(found)
