"""What the gate says of the candidates, with a test of its own for the common test set.

Fixes are pictures that the live model got wrong: a test of them alone favours any other model. So
the candidate that is chosen must not be worse on the pictures that nobody corrected.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from service.models.evaluation import NOBODY, EvaluatedImage
from service.models.gate import GateResult, GateSettings, judge


@dataclass(frozen=True)
class Verdict:
    """The result of a retraining.

    Attributes:
        chosen: digest of the bundle that is better; None: none of these.
        reasons: in words.
        gate: what the gate says; None: there was nothing to test with.
        common: accuracy on pictures that nobody corrected, by digest; the live model's is "".
    """

    chosen: str | None
    reasons: tuple[str, ...]
    gate: GateResult | None
    common: Mapping[str, float]

    def of(self, digest: str) -> dict[str, Any]:
        """Return what the gate says of a candidate, as JSON."""
        assert self.gate is not None
        return self.gate.of(digest)

    def figures(self, digest: str) -> dict[str, Any]:
        """Return the figures of a candidate, with intervals, as JSON."""
        found = next((each for each in self.gate.candidates if each.name == digest), None) \
            if self.gate else None  # fmt: skip
        if found is None:
            return {}
        return {
            "accuracy": found.accuracy,
            "difference": [found.difference.value, found.difference.low, found.difference.high],
            "p": found.p,
            "common_accuracy": self.common.get(digest),
            "advertisers": {
                each.name: {"accuracy": each.candidate, "live": each.live, "images": each.images}
                for each in found.groups
                if each.kind == "advertiser"
            },
            "reasons": list(found.reasons),
        }

    def as_json(self) -> dict[str, Any]:
        """Return the verdict, for the job."""
        return {
            "chosen": self.chosen,
            "reasons": list(self.reasons),
            "images": self.gate.images if self.gate else 0,
            "live_accuracy": self.gate.live if self.gate else None,
        }


def judge_candidates(
    live: Sequence[EvaluatedImage],
    candidates: Mapping[str, Sequence[EvaluatedImage]],
    settings: GateSettings,
    corrected: Set[tuple[str, str]] = frozenset(),
) -> Verdict:
    """Compare candidates with the live model on the frozen test sets.

    Args:
        live: what the live model said of them.
        candidates: what each candidate said, by digest.
        settings: of the gate.
        corrected: sha256 and label of what people corrected, whoever's picture it is.
    """
    if not live:
        reason = "none of these: no picture is in a test set yet, correct more"
        return Verdict(None, (reason,), None, {})
    untouched = _uncorrected(live, corrected)
    common = {"": _accuracy(untouched)} if untouched else {}
    worse: dict[str, str] = {}
    for name, told in candidates.items():
        own = _uncorrected(told, corrected)
        if untouched and own:
            common[name] = _accuracy(own)
            if loss := _loss(untouched, own, settings):
                worse[name] = loss
    kept = {name: told for name, told in candidates.items() if name not in worse}
    everyone = judge(live, candidates, settings)
    if everyone.chosen in worse:
        among = judge(live, kept, settings) if kept else None
        chosen = among.chosen if among else None
        reasons = among.reasons if among and chosen else tuple(sorted(set(worse.values())))
        everyone = replace(everyone, chosen=chosen, reasons=reasons)
    return Verdict(everyone.chosen, everyone.reasons, everyone, common)


def _uncorrected(
    told: Sequence[EvaluatedImage], corrected: Set[tuple[str, str]]
) -> list[EvaluatedImage]:
    return [
        each for each in told
        if each.advertiser == NOBODY and (each.sha256, each.label) not in corrected
    ]  # fmt: skip


def _accuracy(told: Sequence[EvaluatedImage]) -> float:
    return sum(each.correct for each in told) / len(told)


def _loss(
    live: Sequence[EvaluatedImage], own: Sequence[EvaluatedImage], settings: GateSettings
) -> str:
    """Return why a candidate is worse on uncorrected pictures; empty if it is not, for sure."""
    (found,) = judge(live, {"candidate": own}, settings).candidates
    if found.difference.high >= 0:
        return ""
    return (
        "none of these: the best is worse on the common test set, "
        f"{100 * found.difference.value:+.1f} points"
    )
