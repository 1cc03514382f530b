"""Judge graphs by what a user would lose by them.

A graph may be a server's choice if it is as good as fp32 on held-out data, each with its own heads.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.contracts.run import Precision
from training.common.metrics import clustered_mean, log_loss

# Differences below these do not matter; larger ones may be the chance of the test split.
EQUAL_LOSS = 0.005  # of the loss of guessing by the rates alone
EQUAL_GAIN = 0.1  # of what heads know beyond the rate of outcomes, which may be little
EQUAL_ACCURACY = 0.002  # share of images whose augmentation is recognised
MAX_REGRET = 0.005  # more than fp32's: probability that is lost by following answers
COMMON_RATE = 0.25  # regret at lower rates counts relative to them, as in the parity gate


@dataclass(frozen=True, eq=False)
class HeldOut:
    """How one graph and its heads do on held-out data; rows are the same for every graph.

    Attributes:
        correct: (N,) whether each test image was recognised: its augmentation, or its label; of a
            ranked image, the share of its pairs.
        file: (N,) number of its file, or of its group.
        loss: (R,) log loss of each outcome of the test split, of all targets; or of each label, or
            ranked image, of the validation and test splits.
        weight: (R,) so that every target, or label, counts the same.
        original: (R,) number of its original, or of its group.
        base_loss: of guessing by the rates of outcomes, or of classes, or of pairs (log 2), as a
            mean over targets, or over labels and ranks; None without targets.
        regret: mean over targets of ``relative_regret``; None without true probabilities.
    """

    correct: NDArray[np.bool_] | Float64Array
    file: NDArray[np.int64]
    loss: Float64Array
    weight: Float64Array
    original: NDArray[np.int64]
    base_loss: float | None
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
    equal_loss: float  # a difference that does not matter
    unrecognised: float  # share of images that fp32 recognises and the graph does not, less those
    unrecognised_error: float  # that the graph alone recognises
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
        loss, base = exact.mean_loss, exact.base_loss or 0.0
        equal = min(EQUAL_LOSS * base, EQUAL_GAIN * max(0.0, base - loss))
        return cls(more, error, loss, equal, fewer, fewer_error, regret)

    def shortfalls(self) -> tuple[str, ...]:
        """Describe in what the graph is worse; empty if it is as good.

        A loss counts if it exceeds both what matters and its standard error (the one-standard-error
        rule of Breiman et al., 1984). Of a few hundred images, two decide that error, so
        recognition counts if it is worse than what matters by more than its standard error.
        """
        found = []
        if self.log_loss > max(self.log_loss_error, self.equal_loss):
            found.append(
                f"log loss {self.log_loss:.4f} higher than fp32's {self.fp32_log_loss:.4f} "
                f"(standard error {self.log_loss_error:.4f})"
            )
        if self.unrecognised - self.unrecognised_error > EQUAL_ACCURACY:
            found.append(
                f"recognises {self.unrecognised:.2%} fewer images "
                f"(standard error {self.unrecognised_error:.2%})"
            )
        if self.regret is not None and self.regret > MAX_REGRET:
            found.append(f"regret {self.regret:.4f} higher")
        return tuple(found)


class JudgedGraph(Protocol):
    """A graph that was compared with fp32."""

    @property
    def precision(self) -> Precision:
        """Of the graph."""

    @property
    def shortfalls(self) -> tuple[str, ...]:
        """In what it is worse than fp32."""


Judged = TypeVar("Judged", bound=JudgedGraph)


def preferred(graphs: Sequence[Judged]) -> Judged:
    """Return the likely quickest graph of those that are as good as fp32."""
    good = {graph.precision: graph for graph in graphs if not graph.shortfalls}
    return good.get("int8") or good["fp32"]


def base_rate_loss(label: Float64Array, weight: Float64Array) -> float:
    """Return the log loss of predicting the rate of these outcomes for each of them, in nats."""
    rate = np.full(len(label), np.average(label, weights=weight))
    return log_loss(label, rate, weight)


def relative_regret(regret: float | None, rate: float | None) -> float | None:
    """Return a regret as if the rate of outcomes were common: at 0.5 %, half a point is much."""
    if regret is None or not rate:
        return regret
    return regret / min(1.0, rate / COMMON_RATE)
