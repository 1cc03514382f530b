"""The gate's requests, and the answers of what was trained to them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.contracts.recommend_run import RecommendRun
from augrank.contracts.run import Precision
from augrank.images.augmentations import ORIGINAL
from augrank.models.context import ContextEncoder
from augrank.models.head import HeadRows
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects
from export.parity.answers import CatalogueAnswer, ReferenceAnswer
from export.run_reader import Run

TARGETS_PER_IMAGE = 2


@dataclass(frozen=True)
class ParityRequest:
    """A held-out image, a target and a context."""

    image: int  # row of the reference
    target: str
    context: dict[str, Any]


def held_out_requests(run: Run[RecommendRun], images: int) -> list[ParityRequest]:
    """Return requests for every held-out image: some targets, in turn, and sampled contexts.

    Args:
        run: what was trained.
        images: number of images of its references.
    """
    rng = np.random.default_rng(run.record.seed)
    targets = [target.name for target in run.record.targets]
    encoder = ContextEncoder(run.record.context)
    requests = []
    for image in range(images):
        for turn in range(min(TARGETS_PER_IMAGE, len(targets))):
            target = targets[(image * TARGETS_PER_IMAGE + turn) % len(targets)]
            requests.append(ParityRequest(image, target, encoder.draw(rng)))
    return requests


class TrainedGraph:
    """A graph as it was in training: its embeddings of held-out images, heads and posteriors.

    Args:
        run: has the files.
        precision: of the graph.
    """

    def __init__(self, run: Run[RecommendRun], precision: Precision) -> None:
        self.reference = run.reference(precision)
        self._catalogue = run.catalogue
        self._names = run.record.augmentations.names
        self._encoder = ContextEncoder(run.record.context)
        self._estimators = {
            head.target.name: Estimator.load(head, run.directory)
            for head in run.record.graphs[precision].heads
        }

    def answer(self, request: ParityRequest) -> ReferenceAnswer:
        """Answer a request. The image counts as new: its outcomes, if it has any, are ignored."""
        draws = self._candidates(request, ImageEffects.unknown(1))
        return ReferenceAnswer.of_draws(draws, self._estimators[request.target].spec.target)

    def catalogue_answer(self, request: ParityRequest) -> CatalogueAnswer:
        """Answer with the outcomes of the catalogue's images.

        The alternates are the reference's other images.
        """
        estimator, reference = self._estimators[request.target], self.reference
        known = estimator.catalogue[self._rows_of_copies(estimator.catalogue)]
        rows = HeadRows(
            augmentation=np.full(len(known), self._names.index(ORIGINAL)),
            logits=reference.logits[:, 0],
            features=reference.features[:, 0],
            context=self._encoder.encode(request.context),
        )
        own = self._candidates(request, known[request.image : request.image + 1])
        alternates = estimator.images(rows, estimator.score(rows), known, first=1)
        return CatalogueAnswer(
            dict(zip(self._names, own.mean(axis=0).tolist(), strict=True)),
            dict(zip(reference.paths, alternates.mean(axis=0).tolist(), strict=True)),
        )

    def _rows_of_copies(self, catalogue: ImageEffects) -> NDArray[np.int64]:
        """Return the row of each of the reference's images, or of a copy with outcomes."""
        digest = {row.path: row.sha256 for row in self._catalogue}
        digests = np.array([row.sha256 for row in self._catalogue], dtype=object)
        copies = [np.flatnonzero(digests == digest[path]) for path in self.reference.paths]
        return np.array([catalogue.best_known(rows) for rows in copies])

    def _candidates(self, request: ParityRequest, image: ImageEffects) -> Float64Array:
        rows = HeadRows(
            augmentation=np.arange(len(self._names)),
            logits=self.reference.logits[request.image],
            features=self.reference.features[request.image],
            context=self._encoder.encode(request.context),
        )
        return self._estimators[request.target].candidates(rows, image)
