"""The gate: may a candidate take the place of the live model?

All models answer the same images, so that only those count on which they disagree. A candidate is
promoted if

1. it is right more often, and chance alone would look as good in less than one of 20 comparisons.
   One candidate: McNemar's mid-p. Several: also the maximum over random sign flips of all of them
   together, so that the luck of the best of eight is not taken for skill;
2. no advertiser loses 5 points, and no class 10. A loss counts if chance is unlikely: as much as
   that, where chance alone would do so in less than one of 10 cases; or half as much, in less than
   one of 20. So one wrong image of 20 blocks nothing, and a true loss of 5 points on 300 images is
   seen in about nine of ten cases;
3. no advertiser and no class with at least 20 images falls below its floor.

If several pass, the best is chosen; if none does, the reasons are the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from service.models.evaluation import EvaluatedImage
from service.models.paired import Integers, Paired, pair
from service.models.statistics import (
    Floats,
    Interval,
    flip_maxima,
    images_needed,
    mid_p,
    paired_interval,
    quantile,
)

WHOLE_LOSS_P, HALF_LOSS_P = 0.10, 0.05  # below these, a loss is not chance
Kind = Literal["class", "advertiser"]


@dataclass(frozen=True)
class GateSettings:
    """How strict the gate is.

    Attributes:
        error: probability that chance promotes one of several candidates that are as good as live.
        advertiser_loss: of accuracy that blocks, in 0 to 1.
        class_loss: the same for a class.
        advertiser_floor: accuracy for an advertiser, below which a candidate is refused.
        class_floor: the same for a class.
        least_images: of an advertiser or a class, for its floor to be judged.
        flips: random sign flips, to correct for choosing the best.
        seed: of the flips.
    """

    error: float = 0.05
    advertiser_loss: float = 0.05
    class_loss: float = 0.10
    advertiser_floor: float = 0.5
    class_floor: float = 0.5
    least_images: int = 20
    flips: int = 10_000
    seed: int = 0

    def loss(self, kind: str) -> float:
        """Return the loss that blocks."""
        return self.advertiser_loss if kind == "advertiser" else self.class_loss

    def floor(self, kind: str) -> float:
        """Return the least accuracy."""
        return self.advertiser_floor if kind == "advertiser" else self.class_floor


@dataclass(frozen=True)
class GroupResult:
    """How a candidate does for one advertiser or one class."""

    kind: Kind
    name: str
    images: int
    live: float  # accuracy
    candidate: float
    difference: Interval  # 95 %
    blocks: str  # why; "": it does not


@dataclass(frozen=True)
class CandidateResult:
    """How a candidate does against the live model.

    Attributes:
        name: its digest.
        accuracy: over all answers.
        better: images on which it has more right answers than the live model.
        worse: images on which it has fewer.
        difference: of the accuracies, with the 95 % interval of this candidate alone.
        at_least: lower end of the difference that holds for all candidates at once, so also for
            the one that is chosen because it looks best.
        p: that chance looks as good, corrected for the number of candidates.
        groups: by advertiser and class.
        reasons: why it is refused; none: it passes.
    """

    name: str
    accuracy: float
    better: int
    worse: int
    difference: Interval
    at_least: float
    p: float
    groups: tuple[GroupResult, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class GateResult:
    """What the gate says.

    Attributes:
        chosen: name of the candidate to promote; None: none of these.
        reasons: in words.
        images: that were compared.
        live: accuracy of the live model.
        candidates: one by one.
        settings: that were used.
    """

    chosen: str | None
    reasons: tuple[str, ...]
    images: int
    live: float
    candidates: tuple[CandidateResult, ...]
    settings: GateSettings

    def of(self, name: str) -> dict[str, Any]:
        """Return what concerns one candidate, as JSON for its row."""
        found = next(each for each in self.candidates if each.name == name)
        reasons = found.reasons or self.reasons
        if not found.reasons and self.chosen not in (None, name):
            reasons = (f"it is better than the live model, and {self.chosen[:12]} even more so",)
        return {
            "promote": self.chosen == name,
            "reasons": list(reasons),
            "images": self.images,
            "live": self.live,
            "compared": len(self.candidates),
            **{key: value for key, value in asdict(found).items() if key != "reasons"},
            "settings": asdict(self.settings),
        }


def judge(
    live: Sequence[EvaluatedImage],
    candidates: Mapping[str, Sequence[EvaluatedImage]],
    settings: GateSettings = GateSettings(),
) -> GateResult:
    """Compare candidates with the live model.

    Args:
        live: what the live model said of the test sets.
        candidates: what each candidate said of the same images, by digest.
        settings: how strict the gate is.

    Raises:
        DataError: there is nothing to compare, or the images are not the same.
    """
    return judge_paired(pair(live, candidates), settings)


def judge_paired(paired: Paired, settings: GateSettings = GateSettings()) -> GateResult:
    """Compare candidates with the live model; see ``judge``."""
    differences = paired.differences()
    observed, maxima = flip_maxima(differences, settings.flips, settings.seed)
    groups = {key: paired.differences(among) for key, among in sorted(paired.groups.items())}
    results = tuple(
        _judge_one(paired, number, (differences, groups), (observed, maxima), settings)
        for number in range(len(paired.names))
    )
    passing = [each for each in results if not each.reasons]
    best = max(passing, key=lambda each: each.difference.value, default=None)
    reasons = (_why_chosen(best, len(results)),) if best else _why_none(results)
    return GateResult(
        chosen=best.name if best else None,
        reasons=reasons,
        images=len(differences),
        live=float(paired.live.mean()),
        candidates=results,
        settings=settings,
    )


def _judge_one(
    paired: Paired,
    number: int,
    differences: tuple[Integers, Mapping[tuple[str, str], Integers]],
    chance: tuple[Floats, Floats],
    settings: GateSettings,
) -> CandidateResult:
    """Judge one candidate.

    Args:
        paired: the answers.
        number: of the candidate.
        differences: (images, candidates), and the same of each group.
        chance: what ``flip_maxima`` returns.
        settings: how strict the gate is.
    """
    own, answers = differences[0][:, number], len(paired.live)
    observed, maxima = chance
    better, worse = int((own > 0).sum()), int((own < 0).sum())
    p = mid_p(better, worse)
    if len(paired.names) > 1:
        as_good = int((maxima >= observed[number] - 1e-9).sum())
        p = max(p, (1 + as_good) / (1 + len(maxima)))
    interval = paired_interval(own, answers)
    spread = float(np.sqrt((own**2).sum()))
    at_least = interval.value - quantile(maxima, 1 - settings.error) * spread / answers
    groups = tuple(
        _judge_group(paired, number, key, told[:, number], settings)
        for key, told in differences[1].items()
    )
    reasons = [] if p <= settings.error else [_why_chance(interval, p, own, settings)]
    return CandidateResult(
        name=paired.names[number],
        accuracy=float(paired.right[:, number].mean()),
        better=better,
        worse=worse,
        difference=interval,
        at_least=at_least,
        p=p,
        groups=groups,
        reasons=(*reasons, *(each.blocks for each in groups if each.blocks)),
    )


def _judge_group(
    paired: Paired, number: int, key: tuple[str, str], own: Integers, settings: GateSettings
) -> GroupResult:
    kind, name = key
    among = paired.groups[key]
    live, candidate = paired.live[among], paired.right[among, number]
    interval = paired_interval(own, int(among.sum()))
    result = GroupResult(
        kind="advertiser" if kind == "advertiser" else "class",
        name=name,
        images=len(own),
        live=float(live.mean()),
        candidate=float(candidate.mean()),
        difference=interval,
        blocks="",
    )
    lost, floor = _loses(own, interval, settings.loss(kind)), settings.floor(kind)
    low = result.candidate < floor and result.candidate < result.live
    where = f"the advertiser {name}" if kind == "advertiser" else f"the class {name}"
    if lost:
        reason = (
            f"{where} loses {-100 * interval.value:.1f} points on {len(own)} images"
            f" ({_points(interval)})"
        )
    elif low and len(own) >= settings.least_images:
        reason = (
            f"{where} falls to {result.candidate:.1%} of {len(own)} images,"
            f" below its floor of {floor:.0%}"
        )
    else:
        return result
    return GroupResult(**{**vars(result), "blocks": reason})


def _loses(own: Integers, interval: Interval, loss: float) -> bool:
    """Return whether a group loses so much, and not by chance."""
    p = mid_p(int((own < 0).sum()), int((own > 0).sum()))
    return (interval.value <= -loss and p <= WHOLE_LOSS_P) or (
        interval.value <= -loss / 2 and p <= HALF_LOSS_P
    )


def _points(interval: Interval) -> str:
    return f"95 % interval {100 * interval.low:+.1f} to {100 * interval.high:+.1f}"


def _why_chance(interval: Interval, p: float, own: Integers, settings: GateSettings) -> str:
    told = f"{100 * interval.value:+.1f} points ({_points(interval)})"
    if interval.value <= 0:
        return f"it is not better than the live model: {told}"
    needed = images_needed(interval.value, max(float((own != 0).mean()), interval.value))
    return (
        f"it may be better by chance alone: {told}, p {p:.2g} is above {settings.error:g};"
        f" about {needed:,} images would show such a difference in 4 of 5 tests"
    )


def _why_chosen(best: CandidateResult, count: int) -> str:
    among = f", the best of {count}" if count > 1 else ""
    return (
        f"{100 * best.difference.value:+.1f} points against the live model{among}:"
        f" at least {100 * best.at_least:+.1f}, p {best.p:.2g};"
        f" better on {best.better} images, worse on {best.worse}"
    )


def _why_none(results: Sequence[CandidateResult]) -> tuple[str, ...]:
    if not results:
        return ("none of these: there is no candidate",)
    best = max(results, key=lambda each: each.difference.value)
    count = "the candidate" if len(results) == 1 else f"none of these {len(results)}; the best"
    return tuple(f"{count}, {best.name[:12]}: {reason}" for reason in best.reasons)
