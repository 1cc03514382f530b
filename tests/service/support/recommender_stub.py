"""A recommender without a model: its answers are draws that depend on image, target and context."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from augrank.errors import UnknownTarget
from augrank.images.augmentations import AugmentationSet, augmentation_set
from augrank.images.decode import DecodeLimits, decode
from augrank.models.targets import Target, resolve_target
from augrank.tasks.recommend.response import (
    Answer,
    CandidateScore,
    ImageInfo,
    Timings,
    Verdict,
)
from augrank.trust.verdict import decide, interval
from service.backends.catalogue import Catalogue
from service.backends.recommend import RecommendOptions

TARGETS = ("open_rate", "unsubscribe_rate")


class DrawnRecommender:
    """Recommends from draws of probabilities; see ``service.backends.recommend``.

    Args:
        model: its digest.
        augmentations: that it offers.
    """

    name, context, catalogue = "drawn", (), Catalogue()

    def __init__(self, model: str = "d" * 64, augmentations: AugmentationSet | None = None) -> None:
        self.model = model
        self.augmentations = augmentations or augmentation_set("seed")
        self.targets: Sequence[Target] = tuple(resolve_target(name) for name in TARGETS)

    def canonical(self, options: RecommendOptions) -> RecommendOptions:
        target = options.target or TARGETS[0]
        if target not in TARGETS:
            raise UnknownTarget("there is no such target", expected=str(TARGETS), got=target)
        context = {name: str(value).title() for name, value in options.context.items()}
        return replace(options, target=target, context=context, candidates=self.augmentations.names)

    def decode(self, data: bytes, limits: DecodeLimits) -> None:
        """It takes files alone."""

    def recommend(self, image: bytes, options: RecommendOptions) -> Answer:
        target = resolve_target(str(options.target))
        given = json.dumps([target.name, dict(options.context)]).encode()
        seed = hashlib.sha256(image + given).digest()
        rng = np.random.default_rng(int.from_bytes(seed[:8], "big"))
        count = len(self.augmentations.names)
        means = np.append(0, rng.normal(0, 0.2, count - 1))
        odds = -1.5 + means + rng.normal(0, 0.4, (200, 1)) + rng.normal(0, 0.2, (200, count))
        draws = 1 / (1 + np.exp(-odds))
        decision = decide(draws[:, 1:], draws[:, 0], target.direction)
        scores = _scores(self.augmentations, draws)
        best = scores[0 if decision.option is None else 1 + decision.option]
        shown = decode(image, 32)
        info = ImageInfo(
            sha256=hashlib.sha256(image).hexdigest(),
            width=shown.width,
            height=shown.height,
            format=shown.format,
        )
        sign = 1 if target.direction == "minimize" else -1
        return Answer(
            model=self.name,
            bundle_version="1",
            engine="draws",
            image=info,
            target=target.name,
            direction=target.direction,
            context=dict(options.context),
            augmentation="original",
            min_lift=0.0,
            probability=scores[0].probability,
            interval=scores[0].interval,
            candidates=tuple(sorted(scores, key=lambda each: sign * each.probability)),
            best_candidate=best,
            verdict=Verdict(kind=decision.kind, choice=None, sends=None, lift=None, text="..."),
            alternates=(),
            best_alternate=None,
            alternate_verdict=None,
            timings_ms=Timings(total=1.0),
        )


def _scores(augmentations: AugmentationSet, draws: np.ndarray) -> list[CandidateScore]:
    differences = draws - draws[:, :1]
    ends, apart = np.stack(interval(draws)).round(6), np.stack(interval(differences)).round(6)
    return [
        CandidateScore(
            name=augmentation.name,
            parameters=augmentation.parameters(),
            probability=round(float(draws[:, n].mean()), 6),
            interval=(float(ends[0, n]), float(ends[1, n])),
            difference=round(float(differences[:, n].mean()), 6),
            difference_interval=(float(apart[0, n]), float(apart[1, n])),
            lift=None,
            better=False,
        )
        for n, augmentation in enumerate(augmentations.augmentations)
    ]
