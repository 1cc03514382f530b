"""Read rules.yaml, check it against a run's labels, and fit its thresholds.

See ``augrank/models/rules.py`` for what the thresholds promise.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from augrank.arrays import Float64Array
from augrank.errors import DataError, one_of
from augrank.models.label_head import LabelHeadSpec
from augrank.models.rules import FittedRule, FittedRules, Rules, earning, folded
from export.yaml_files import check_label, classes_of, read_yaml

# Probabilities that are tested, from strict to lenient. Fixed beforehand, as the test demands.
THRESHOLDS = (0.9999, 0.9995, 0.999, 0.998, 0.995, 0.99, 0.98, 0.97, 0.96, 0.95, 0.93, 0.9, 0.85,
              0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)  # fmt: skip
ROOM = 2  # the first test has so many times the images that can prove it
NEVER = 2.0  # no probability reaches it
RULES = TypeAdapter(Rules)
EXAMPLE = "label, precision, confidence, and under credit classes for each review kind"


def _check_kinds(file: Path, rules: Rules) -> None:
    """Check that no two review kinds differ only in case and separators.

    Raises:
        DataError: two do.
    """
    seen: dict[str, str] = {}
    for kind in rules.credit:
        if (before := seen.setdefault(folded(kind), kind)) != kind:
            raise DataError(
                f"{file}: two review kinds have one name",
                expected="kinds that differ in more than case and separators",
                got=f"{before!r} and {kind!r}",
            )


def read_rules(file: Path, heads: Sequence[LabelHeadSpec]) -> Rules:
    """Read rules and check that they name labels and classes of a run.

    Args:
        file: rules.yaml.
        heads: of the run.

    Raises:
        DataError: the file cannot be read, or names what the run does not have.
    """
    rules = read_yaml(file, RULES, EXAMPLE)
    _check_kinds(file, rules)
    labels = classes_of(heads)
    check_label(file, rules.label, labels)
    classes = labels[rules.label]
    for kind, credit in rules.credit.items():
        for name in credit:
            if name not in classes:
                raise DataError(
                    f"{file}: the rule {kind!r} names a class that {rules.label} does not have",
                    expected=one_of(classes, name),
                    got=repr(name),
                )
        if not 0 < len(set(credit)) < len(classes):
            raise DataError(
                f"{file}: the rule {kind!r} does not divide the classes",
                expected=f"some of {', '.join(classes)}",
                got=", ".join(credit) or "none",
            )
    return rules


def fit_rules(
    rules: Rules,
    classes: Sequence[str],
    probability: Float64Array,
    label: NDArray[np.int64],
    group: NDArray[np.int64],
) -> FittedRules:
    """Fit the thresholds of every rule to images that no model has seen.

    Args:
        rules: checked.
        classes: of the rules' label, K.
        probability: of the calibration images, (n, K).
        label: (n,).
        group: (n,); images of one group, such as an uploader's, are right or wrong together.
    """
    fitted = {}
    order = np.random.default_rng(0).permutation(len(label))
    probability, label, group = probability[order], label[order], group[order]
    for kind, credit in rules.credit.items():
        earners = earning(classes, credit)
        earns, truly = probability[:, earners].sum(axis=1), earners[label]
        accept = _threshold(earns, truly, group, rules)
        reject = _threshold(1 - earns, ~truly, group, rules)
        accepted, rejected = earns >= accept, 1 - earns >= reject
        decided = accepted | rejected
        right = np.where(accepted, truly, ~truly)[decided]
        fitted[kind] = FittedRule(
            credit=tuple(credit),
            accept=accept,
            reject=reject,
            decided=float(decided.mean()),
            images=len(label),
            groups=len(np.unique(group)),
            right=float(right.mean()) if len(right) else None,
        )
    return FittedRules(
        label=rules.label, precision=rules.precision, confidence=rules.confidence, rules=fitted
    )


def _threshold(
    probability: Float64Array,
    right: NDArray[np.bool_],
    group: NDArray[np.int64],
    rules: Rules,
) -> float:
    """Return the lowest probability at which a decision is right often enough.

    Accepting and rejecting share the chance of a wrong promise. One decided image of each group is
    counted, the first in a random order: only those are independent of each other.

    Args:
        probability: of the decision being right, by image in random order, (n,).
        right: whether it would be right.
        group: of each image.
        rules: precision and confidence.
    """
    chance = (1 - rules.confidence) / 2
    fewest = math.ceil(math.log(chance) / math.log(rules.precision))  # that can prove it
    counted = [_first_of_groups(probability >= threshold, group) for threshold in THRESHOLDS]
    counts = [len(places) for places in counted]
    # Of the fewest, none may be wrong, and the strictest test would often fail by chance.
    start = ROOM * fewest if counts[-1] >= ROOM * fewest else fewest
    found = NEVER
    for threshold, places in zip(THRESHOLDS, counted, strict=True):
        if len(places) < start:
            continue
        wrong = len(places) - int(right[places].sum())
        if _upper_bound(wrong, len(places), chance) > 1 - rules.precision:
            break
        found = threshold
    return found


def _first_of_groups(chosen: NDArray[np.bool_], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of the first chosen image of each group."""
    places = np.flatnonzero(chosen)
    return np.asarray(places[np.unique(group[places], return_index=True)[1]])


def _upper_bound(wrong: int, count: int, chance: float) -> float:
    """Return the upper end of the share of wrong decisions; Clopper and Pearson (1934)."""
    from scipy.stats import beta

    return 1.0 if wrong == count else float(beta.ppf(1 - chance, wrong + 1, count - wrong))
