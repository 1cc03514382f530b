"""Fit the heads of a graph, one for each label and each rank, and see how they do together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from augrank.models.scorers import Linear
from training.backbone.model import Backbone
from training.common.classification import row_losses
from training.data.classify_dataset import CALIBRATION, SPLIT_NAMES, ClassifyDataset
from training.graphs.embeddings import Embedded
from training.graphs.judge import HeldOut
from training.heads.label_heads import FittedLabelHead, LabelRows, fit_label_head, labelled
from training.heads.rank_heads import FittedRankHead, RankRows, RankTold, fit_rank_head

GUESSING_PAIRS = float(np.log(2))  # log loss


@dataclass(frozen=True)
class GraphHeads:
    """The heads of one graph, in the order of the dataset's labels and ranks."""

    labels: tuple[FittedLabelHead, ...]
    ranks: tuple[FittedRankHead, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the labels, and over the ranks, on the test split."""
        found: dict[str, float] = {}
        if self.labels:
            figures = [head.figures for head in self.labels]
            for name in ("accuracy", "macro_f1", "log_loss"):
                found[name] = float(np.mean([getattr(each, name) for each in figures]))
        if self.ranks:
            shares = [head.figures.pair_accuracy for head in self.ranks]
            found["pair_accuracy"] = float(np.mean(shares))
        return found

    def save(self, root: Path) -> None:
        """Write the files of all heads below a run."""
        for label in self.labels:
            label.save(root)
        for rank in self.ranks:
            rank.save(root)

    def held_out(self) -> HeldOut:
        """Return how they do on the validation and test splits; all heads count the same.

        Validation chose each graph's heads in the same way, so it favours none. The calibration
        split judges nothing: what is promised of its images depends on that. An image that is
        ranked counts as the mean of its pairs.
        """
        parts = [_of_label(head) for head in self.labels] + [_of_rank(head) for head in self.ranks]
        group = np.concatenate([part.group for part in parts])
        return HeldOut(
            correct=np.concatenate([part.correct for part in parts]),
            file=group,
            loss=np.concatenate([part.loss for part in parts]),
            weight=np.concatenate([np.full(len(part.loss), 1 / len(part.loss)) for part in parts]),
            original=group,
            base_loss=float(np.mean([part.guessing_loss for part in parts])),
            regret=None,
        )


@dataclass(frozen=True)
class _Judged:
    """How one head does; rows are images of the validation and test splits."""

    correct: Float64Array  # (N,) 0..1
    loss: Float64Array  # (N,)
    group: NDArray[np.int64]  # (N,)
    guessing_loss: float


def fit_graph_heads(
    data: ClassifyDataset,
    backbone: Backbone,
    embedded: Embedded,
    threads: int,
    advance: Callable[[int, str], None],
) -> GraphHeads:
    """Fit the heads of a graph.

    Args:
        data: has the labels and the ranks.
        backbone: whose last layer is a candidate for each of them.
        embedded: features of all images by this graph.
        threads: for XGBoost.
        advance: is called with 1 and a text after each head.
    """
    layers = _last_layers(backbone, data.classes)
    folder = f"heads/{embedded.precision}"
    labels, ranks = list[FittedLabelHead](), list[FittedRankHead]()
    options: dict[str, Any] = {
        "calibration": CALIBRATION,
        "seed": data.config.seed,
        "threads": threads,
    }
    for number, label in enumerate(data.labels):
        parts = _label_rows(data, embedded, number, layers[number][0])
        stem = f"{folder}/label-{number}"
        labels.append(fit_label_head(label, parts, layers[number][1], stem, **options))
        advance(1, f"{embedded.precision}: {label.name}")
    for number, rank in enumerate(data.ranks):
        rows = _rank_rows(data, embedded, number)
        layer = layers[len(data.labels) + number][1]
        head = fit_rank_head(rank, rows, layer, f"{folder}/rank-{number}", **options)
        same = [each for each in labels if each.head.spec.label == rank.name]
        ranks.append(replace(head, by_classes=_by_classes(same[0], head.test) if same else None))
        advance(1, f"{embedded.precision}: {rank.name}")
    return GraphHeads(tuple(labels), tuple(ranks))


def _last_layers(backbone: Backbone, classes: tuple[int, ...]) -> list[tuple[slice, Linear]]:
    """Return the columns and the weights of each question of the network's last layer."""
    weight, bias = (
        each.detach().cpu().numpy() for each in (backbone.last.weight, backbone.last.bias)
    )
    ends = np.cumsum((0, *classes)).tolist()
    columns = [slice(start, end) for start, end in pairwise(ends)]
    return [(each, Linear(weight[each], bias[each])) for each in columns]


def _features(
    data: ClassifyDataset, embedded: Embedded, split: int
) -> tuple[Float32Array, Float32Array]:
    """Return the features and logits of the images of a split."""
    table, samples = embedded.table, data.samples(split)
    assert table is not None
    rows = table.rows(samples.file, samples.applied)
    return table.features[rows], table.logits[rows]


def _label_rows(
    data: ClassifyDataset, embedded: Embedded, number: int, columns: slice
) -> dict[int, LabelRows]:
    parts = {}
    for split in range(len(SPLIT_NAMES)):
        features, logits = _features(data, embedded, split)
        value = data.samples(split).label[:, number]
        parts[split] = labelled(features, logits[:, columns], value, data.groups(split))
    return parts


def _rank_rows(data: ClassifyDataset, embedded: Embedded, number: int) -> dict[int, RankRows]:
    parts = {}
    for split in range(len(SPLIT_NAMES)):
        features, _ = _features(data, embedded, split)
        file, group = data.samples(split).file, data.groups(split)
        parts[split] = RankRows.of(features, data.ranks[number], file, group, data.config.seed)
    return parts


def _by_classes(label: FittedLabelHead, test: RankTold) -> float:
    """Return the share of test pairs that the classes of the same scores tell rightly.

    Args:
        label: whose classes are in the order of the scores.
        test: of the rank's test split.
    """
    probability = label.head.probabilities(test.rows.features)
    order = np.argsort([float(name) for name in label.head.spec.classes]).argsort()
    return test.rows.pairs.mean(test.rows.pairs.correct(probability @ order))


def _of_label(head: FittedLabelHead) -> _Judged:
    told = (head.validation, head.test)
    probability = np.concatenate([each.probability for each in told])
    label = np.concatenate([each.label for each in told])
    counts = np.bincount(label)
    shares = counts[counts > 0] / counts.sum()
    return _Judged(
        correct=(probability.argmax(axis=1) == label).astype(np.float64),
        loss=row_losses(probability, label),
        group=np.concatenate([each.group for each in told]),
        guessing_loss=float(-(shares * np.log(shares)).sum()),
    )


def _of_rank(head: FittedRankHead) -> _Judged:
    told = (head.validation, head.test)
    return _Judged(
        correct=np.concatenate([each.by_image(each.rows.pairs.correct) for each in told]),
        loss=np.concatenate([each.by_image(each.rows.pairs.loss) for each in told]),
        group=np.concatenate([each.rows.group[each.paired] for each in told]),
        guessing_loss=GUESSING_PAIRS,
    )
