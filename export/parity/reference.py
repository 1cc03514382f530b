"""The gate's requests, and the trained model's answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from augrank.contracts.recommend_run import RecommendRun
from augrank.models.context import ContextEncoder
from augrank.models.head import HeadRows
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects
from export.parity.answers import ReferenceAnswer
from export.run_reader import Reference, Run

TARGETS_PER_IMAGE = 2


@dataclass(frozen=True)
class ParityRequest:
    """A held-out image, a target and a context."""

    image: int  # row of the reference
    target: str
    context: dict[str, Any]


def held_out_requests(run: Run[RecommendRun], reference: Reference) -> list[ParityRequest]:
    """Return requests for every held-out image: some targets, in turn, and sampled contexts."""
    rng = np.random.default_rng(run.record.seed)
    targets = [head.target.name for head in run.record.heads]
    encoder = ContextEncoder(run.record.context)
    requests = []
    for image in range(len(reference.paths)):
        for turn in range(min(TARGETS_PER_IMAGE, len(targets))):
            target = targets[(image * TARGETS_PER_IMAGE + turn) % len(targets)]
            requests.append(ParityRequest(image, target, encoder.draw(rng)))
    return requests


def reference_answers(
    run: Run[RecommendRun], reference: Reference, requests: Sequence[ParityRequest]
) -> list[ReferenceAnswer]:
    """Answer requests with torch's embeddings and the run's own heads and posteriors."""
    estimators = {
        head.target.name: Estimator.load(head, run.directory) for head in run.record.heads
    }
    encoder = ContextEncoder(run.record.context)
    names = run.record.augmentations.names
    answers = []
    for request in requests:
        estimator = estimators[request.target]
        rows = HeadRows(
            augmentation=np.arange(len(names)),
            logits=reference.logits[request.image],
            features=reference.features[request.image],
            context=encoder.encode(request.context),
        )
        draws = estimator.candidates(rows, ImageEffects.unknown(1))
        answers.append(ReferenceAnswer.of_draws(draws, estimator.spec.target))
    return answers
