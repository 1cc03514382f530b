"""What the network is trained for: the cross-entropy of one or several questions about an image.

The last layer has the logits of all questions, side by side. An image without an answer to a
question says nothing about it.

A question with a single logit ranks: of two images of one owner in a batch, the one of higher
standing should have the higher logit (pairwise logistic loss; RankNet, Burges et al., 2005).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from training.data.ranks import SPAN
from training.data.samples import NOT_LABELLED

ClassWeights = Literal["none", "balanced"]


@dataclass(frozen=True)
class Objective:
    """The questions, and how their answers are weighed.

    Attributes:
        classes: the number of classes of each question; 1 if it ranks.
        weights: of the classes of each question, float32 (K,) on the device of the logits; None:
            all count the same.
        smoothing: share of each label that is spread over all classes (Szegedy et al., 2016).
    """

    classes: tuple[int, ...]
    weights: tuple[Tensor, ...] | None = None
    smoothing: float = 0.0

    @classmethod
    def of_labels(
        cls,
        classes: Sequence[int],
        label: NDArray[np.int64],
        weights: ClassWeights,
        smoothing: float,
    ) -> "Objective":
        """Weigh classes by the labels of the training split.

        Args:
            classes: the number of classes of each question; 1 if it ranks.
            label: (N,) or (N, Q).
            weights: ``balanced`` gives every class of a question the same total weight.
            smoothing: share of each label that is spread over all classes.
        """
        if weights == "none":
            return cls(tuple(classes), None, smoothing)
        columns = label.reshape(len(label), -1).T
        found = tuple(
            torch.from_numpy(_balanced(column[column != NOT_LABELLED], count))
            if count > 1
            else torch.ones(1)
            for column, count in zip(columns, classes, strict=True)
        )
        return cls(tuple(classes), found, smoothing)

    def on(self, device: torch.device) -> "Objective":
        """Return the objective with its weights on a device."""
        if self.weights is None:
            return self
        return replace(self, weights=tuple(each.to(device) for each in self.weights))

    def loss(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the mean loss of images, which training reduces.

        Args:
            logits: float32 (B, A).
            label: int64 (B,) or (B, Q).
        """
        total = logits.new_zeros(())
        for number, (part, column) in enumerate(self._questions(logits, label)):
            if part.shape[1] == 1:
                total = total + _ranking_figures(part[:, 0], column)[0]
                continue
            total = total + cross_entropy(
                part,
                column,
                None if self.weights is None else self.weights[number],
                ignore_index=NOT_LABELLED,
                reduction="sum",
                label_smoothing=self.smoothing,
            )
        return total / len(logits)

    def figures(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return figures of images, float64 (3,) on their device.

        These are the summed cross-entropy of all answers, without weights and smoothing; the number
        of correct answers; and the number of answers. Of a question that ranks, an image counts as
        the mean over the pairs of this batch.

        Args:
            logits: float32 (B, A).
            label: int64 (B,) or (B, Q).
        """
        sums = torch.zeros(3, dtype=torch.float64, device=logits.device)
        for part, column in self._questions(logits, label):
            if part.shape[1] == 1:
                sums += torch.stack(_ranking_figures(part[:, 0], column)).to(sums)
                continue
            loss = cross_entropy(part, column, ignore_index=NOT_LABELLED, reduction="sum")
            known = column != NOT_LABELLED
            right = (part.argmax(1) == column) & known
            sums += torch.stack([loss, right.sum(), known.sum()])
        return sums

    def _questions(self, logits: Tensor, label: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the logits (B, K) and the labels (B,) of each question."""
        columns = label.reshape(len(label), -1).unbind(1)
        yield from zip(torch.split(logits, list(self.classes), 1), columns, strict=True)


def _ranking_figures(score: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return summed loss, correct answers and answers of images (B,).

    An image with a pair in the batch is an answer, and counts as the mean of its pairs: otherwise
    those of few owners with many images would decide.

    Args:
        score: float32 (B,).
        place: int64 (B,), owner and standing in one number (``training.data.ranks.Rank.place``);
            NOT_LABELLED where unknown.
    """
    owner = place // SPAN  # -1 where unknown
    pair = (place[:, None] > place[None]) & (owner[:, None] == owner[None])
    margin = score[:, None] - score[None]
    pairs = pair.sum(0) + pair.sum(1)  # of each image
    share = 1 / pairs.clamp(min=1)
    weight = torch.where(pair, share[:, None] + share[None], 0)
    loss = (weight * softplus(-margin)).sum()
    right = (weight * (margin > 0)).sum()
    return loss, right, (pairs > 0).sum()


def _balanced(label: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Return weights whose mean over the labels is 1; classes without labels have none."""
    counts = np.bincount(label, minlength=classes).astype(np.float64)
    present = np.maximum((counts > 0).sum(), 1)
    weights = np.divide(len(label) / present, counts, out=np.zeros(classes), where=counts > 0)
    return np.asarray(weights, np.float32)
