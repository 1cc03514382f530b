"""What a trial of a classifier reaches on the validation split, and what it costs to answer."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from augrank.models.label_head import softmax
from training.backbone.loader import EVALUATION_BATCH
from training.backbone.train import TrainedBackbone
from training.common.classification import classification_figures
from training.common.context import TrainContext
from training.data.classify_dataset import ClassifyDataset
from training.data.samples import NOT_LABELLED
from training.data.splits import VALIDATION

TIMED_IMAGES = 256


@dataclass(frozen=True)
class TrialFigures:
    """Means over the labels, on the validation split, by the network's last layer."""

    macro_f1: float
    macro_f1_low: float  # of the 95 % interval
    macro_f1_high: float
    accuracy: float
    log_loss: float
    ece: float
    images_per_s: float  # of inference, in the precision of training

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> "TrialFigures":
        """Read what ``as_json`` returns."""
        return cls(**{field.name: float(content[field.name]) for field in fields(cls)})

    def as_json(self) -> dict[str, float]:
        """Return plain data."""
        return asdict(self)


def trial_figures(
    data: ClassifyDataset, trained: TrainedBackbone, ctx: TrainContext
) -> TrialFigures:
    """Compute the figures of a trained network.

    Args:
        data: its validation split.
        trained: the network.
        ctx: its device.
    """
    samples, groups = data.samples(VALIDATION), data.groups(VALIDATION)
    loader = trained.loader(data, EVALUATION_BATCH, ctx)
    network = trained.backbone.folded().to(ctx.device.torch_device, ctx.device.dtype)
    logits: list[NDArray[np.float32]] = []

    def told(batch: torch.Tensor) -> NDArray[np.float32]:
        scores: torch.Tensor = network(batch.to(ctx.device.dtype))[1]
        return scores.float().cpu().numpy()

    with torch.inference_mode():
        for batch in loader.in_order(samples):
            logits.append(told(batch))
        started, timed = time.perf_counter(), 0
        while timed < TIMED_IMAGES:  # the last batch again: nothing is allocated any more
            timed += len(told(batch))
        seconds = time.perf_counter() - started
    table, first, found = np.concatenate(logits), 0, []
    for number, label in enumerate(data.labels):
        columns = slice(first, first + len(label.classes))
        first = columns.stop
        value = samples.label[:, number]
        known = value != NOT_LABELLED
        probability = softmax(table[known][:, columns], 1.0)
        found.append(
            classification_figures(probability, value[known], groups[known], label.classes)
        )
    ends = np.array([each.macro_f1_interval_95 for each in found]).mean(axis=0)
    return TrialFigures(
        macro_f1=_mean([each.macro_f1 for each in found]),
        macro_f1_low=float(ends[0]),
        macro_f1_high=float(ends[1]),
        accuracy=_mean([each.accuracy for each in found]),
        log_loss=_mean([each.log_loss for each in found]),
        ece=_mean([each.ece for each in found]),
        images_per_s=timed / seconds,
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
