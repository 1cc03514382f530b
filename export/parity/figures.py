"""Figures of the parity gate, and their tolerances: what a user loses by the exported graph.

``regret``
    What is lost by following the archive's verdict, or by testing what it lists first, in the
    reference's probabilities; the mean over requests. Which of two equally good candidates comes
    first is no loss.
``verdict_changes``
    Share of requests with another verdict: another kind, or a change to a worse candidate. A
    verdict that the reference gives too if all gains are half a point larger or smaller is a
    near-tie and does not count, nor does the choice between candidates half a point apart.
``probability_difference``
    How far the probabilities and the ends of intervals that a user acts on are off: of the
    original, and of the candidates that the reference or the archive recommends or lists first. The
    largest of a request, its mean over the requests of a target, and the worst target. A fault that
    raises a candidate makes it the archive's first; one that lowers the best is seen in the
    reference's first; one that moves all moves the original; one that only claims more or less
    certainty moves the ends of intervals. Faults move a target's every answer; trees jump in a few
    when an input crosses a split, so the mean tells the two apart and the maximum would not.
``embedding_cosine``
    The lowest cosine similarity of features and logits, over all candidates: what no head happens
    to use, and candidates that nobody would choose. Rows that are nearly zero count less.

Half a point is little at a rate of 40 % and all of a rate of 0.5 %. So where all probabilities of a
request are below 25 %, differences count relative to the highest of them, and half a point stands
for a lift of 2 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.graphs import Way
from augrank.bundle.recommend_spec import ParityFigures
from augrank.errors import AugrankError
from export.parity.answers import GateAnswer, ReferenceAnswer


class ParityError(AugrankError):
    """The export does not answer as the trained model does."""

    code = "parity"


@dataclass(frozen=True)
class Tolerance:
    """The figures of a graph that may be used.

    A graph is compared with what it computed itself in training, fp32 with torch. Another engine
    rounds int8 elsewhere, and OpenVINO computes fp32 in bfloat16 if the CPU can (eight bits of
    mantissa, fp16 has eleven): their numbers may be further off, but a user may lose as little by
    them as by any other graph.
    """

    embedding_cosine: float  # at least
    probability_difference: float  # at most
    regret: float = 0.005  # at most
    verdict_changes: float = 0.01  # at most; one change is always allowed

    def max_changes(self, requests: int) -> float:
        """Return the largest share of changed verdicts: of few requests, one may change."""
        return max(self.verdict_changes, round(1 / requests, 6))


EXACT = Tolerance(0.9999, 0.02)
HALF = Tolerance(0.999, 0.02)  # fp16
BFLOAT16 = Tolerance(0.999, 0.03)
OTHER_INT8 = Tolerance(0.98, 0.05)  # under another engine than in training
TINY = 1e-12  # divided by in place of a norm that is zero


def tolerance_of(way: Way, embedded_by: str) -> Tolerance:
    """Return the tolerance of a graph on a device.

    Args:
        way: the graph and the device.
        embedded_by: the device that computed its embeddings in training.
    """
    if way.precision == "fp32":
        return BFLOAT16 if way.device == "openvino" else EXACT
    if way.precision == "fp16":
        return HALF
    return EXACT if way.device == embedded_by else OTHER_INT8


def compare(
    expected: Sequence[ReferenceAnswer], got: Sequence[GateAnswer], cosine: float
) -> ParityFigures:
    """Compute the figures of the gate.

    Args:
        expected: the reference's answers.
        got: the archive's answers to the same requests.
        cosine: the lowest cosine similarity of the embeddings.
    """
    pairs = list(zip(expected, got, strict=True))
    apart: dict[str, list[float]] = {}
    for one, other in pairs:
        apart.setdefault(one.target.name, []).append(one.difference(other))
    return ParityFigures(
        requests=len(pairs),
        regret=round(float(np.mean([one.loss(other) for one, other in pairs])), 6),
        verdict_changes=round(float(np.mean([not one.agrees(other) for one, other in pairs])), 6),
        probability_difference=round(float(np.max([np.mean(a) for a in apart.values()])), 6),
        embedding_cosine=round(cosine, 6),
    )


def shortfalls(figures: ParityFigures, tolerance: Tolerance) -> list[str]:
    """Describe each figure that misses its tolerance; empty if the gate is passed."""
    missed = []
    least = tolerance.embedding_cosine
    if not figures.embedding_cosine >= least:  # NaN misses it too
        missed.append(f"embedding_cosine {figures.embedding_cosine} (at least {least})")
    most = {
        "regret": tolerance.regret,
        "verdict_changes": tolerance.max_changes(figures.requests),
        "probability_difference": tolerance.probability_difference,
    }
    for name, bound in most.items():
        if not getattr(figures, name) <= bound:
            missed.append(f"{name} {getattr(figures, name)} (at most {bound})")
    return missed


def min_cosine(got: NDArray[np.float32], expected: NDArray[np.float32], typical: float) -> float:
    """Return the lowest cosine similarity between the rows of two arrays, float32 (A, W) each.

    Where both rows are shorter than the typical one, what they lack counts less, by the square of
    the longer one's length: the few logits of an image that could be anything are nearly zero, and
    their direction is chance.

    Args:
        got: of the archive.
        expected: of the reference.
        typical: the norm of a typical expected row.
    """
    ours, theirs = np.linalg.norm(got, axis=1), np.linalg.norm(expected, axis=1)
    cosine = np.sum(got * expected, axis=1) / np.maximum(ours * theirs, TINY)
    weight = np.minimum(1, np.maximum(ours, theirs) / max(typical, TINY)) ** 2
    return float(np.min(1 - (1 - cosine) * weight))


def typical_norm(rows: NDArray[np.float32]) -> float:
    """Return the median norm of rows, (..., W)."""
    return float(np.median(np.linalg.norm(rows, axis=-1)))
