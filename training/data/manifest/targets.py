"""The targets of a manifest: which there are, and their outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import PROBABILITY, SUCCESSES, TRIALS
from augrank.errors import DataError, one_of
from augrank.manifest.problems import VALUE, Problems
from augrank.models.targets import TARGET_ALIASES, TARGETS, Direction, Target, resolve_target
from training.data.manifest.values import numbers

# Outcomes in words, in lower case.
WORDS = dict.fromkeys(("true", "t", "yes", "y"), 1.0) | dict.fromkeys(
    ("false", "f", "no", "n"), 0.0
)
# What other programs write for a missing value, in lower case.
MISSING = frozenset(
    (
        "na",
        "n/a",
        "#n/a",
        "<na>",
        "nan",
        "null",
        "none",
        "nil",
        "missing",
        "unknown",
        "-",
        "--",
        "\u2013",
        "\u2014",
        ".",
        "?",
        "#div/0!",
        "#value!",
        "#ref!",
    )
)


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one target. A pair of counts becomes two weighted rows."""

    target: Target
    row: NDArray[np.int64]  # (R,) rows of the manifest
    label: NDArray[np.float64]  # (R,) 0 or 1
    weight: NDArray[np.float64]  # (R,) number of outcomes
    truth: NDArray[np.float64] | None  # (R,) true probabilities, if known


def find_targets(frame: pd.DataFrame, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the table's targets: standard names, and names with a pair or a ``_probability``.

    Args:
        frame: text, as read.
        wanted: the targets to return; by default all.

    Raises:
        DataError: a wanted target that the table does not have, or one with two sources.
    """
    columns, pairs, found = set(frame.columns), _counted(frame), possible_targets(frame)
    chosen = tuple(wanted) if wanted is not None else found
    for name in chosen:
        if name in pairs and name in columns:
            raise DataError(
                f"the target {name} has two sources",
                expected=f"{name}, or {name}{SUCCESSES} and {name}{TRIALS}",
                got="all three columns",
                remedy="Remove one of them.",
            )
        if name not in columns and name not in pairs:
            raise DataError(
                f"the manifest has no target {name!r}",
                expected=one_of(sorted(found), name)
                if found
                else f"a column {name} of 0 and 1, or {name}{SUCCESSES} and {name}{TRIALS}",
                remedy="If the column has another name, give it with --column.",
            )
    if wanted is None:
        _check_aliases(found)
    return chosen


def possible_targets(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return all targets of a table, the standard ones first.

    An alias of a standard target counts if most of its cells hold outcomes.
    """
    columns = set(frame.columns)
    simulated = {name.removesuffix(PROBABILITY) for name in columns if name.endswith(PROBABILITY)}
    aliases = {name for name in TARGET_ALIASES if name in columns and _holds_outcomes(frame[name])}
    found = _counted(frame) | aliases | (columns & ({*TARGETS} | simulated))
    standard = [name for name in (*TARGETS, *TARGET_ALIASES) if name in found]
    return (*standard, *sorted(found - set(standard)))


def _counted(frame: pd.DataFrame) -> set[str]:
    """Return the targets that are given as a pair of counts."""
    names = {name.removesuffix(SUCCESSES) for name in frame.columns if name.endswith(SUCCESSES)}
    return {name for name in names if name + TRIALS in frame.columns}


def _check_aliases(targets: Sequence[str]) -> None:
    """Check that no two names mean one standard target."""
    named: dict[str, str] = {}
    for name in targets:
        standard = TARGET_ALIASES.get(name, name)
        if other := named.get(standard):
            raise DataError(
                f"{other} and {name} both mean the target {standard}",
                expected="one of them",
                remedy=f"Choose with --targets, such as --targets {name}.",
            )
        named[standard] = name


def _holds_outcomes(column: pd.Series) -> bool:
    """Return whether at least half of the cells that are not blank hold 0 or 1."""
    values = _labels(column[column != ""])
    return len(values) > 0 and float(np.isin(values, (0, 1)).mean()) >= 0.5


def check_target(frame: pd.DataFrame, name: str, problems: Problems) -> None:
    """Check that outcomes are 0, 1 or blank, or integer counts, and true probabilities 0 to 1."""

    def check(
        column: str,
        values: NDArray[np.float64],
        wrong: NDArray[np.bool_],
        why: str,
        needed: NDArray[np.bool_] | None = None,
    ) -> None:
        text = [str(value) for value in frame[column]]
        blank = np.array([value == "" for value in text])
        bad = ~blank & (~np.isfinite(values) | wrong)
        if needed is not None:
            bad |= blank & needed
        for hint, rows in _hints(name, text, bad & ~problems.bad).items():
            problems.add(rows, f"{column}: expected {why}, got {VALUE}{hint}", text)

    with np.errstate(invalid="ignore"):
        if name in frame.columns:
            labels = _labels(frame[name])
            check(name, labels, (labels != 0) & (labels != 1), "0, 1 or blank")
        else:
            successes, trials = frame[name + SUCCESSES], frame[name + TRIALS]
            counts = numbers(trials)
            for count, other in ((name + TRIALS, successes), (name + SUCCESSES, trials)):
                values, required = numbers(frame[count]), other.to_numpy(object) != ""
                wrong = (values < 0) | (values != np.floor(values))
                check(count, values, wrong, "a whole number", required)
            values = numbers(successes)
            check(name + SUCCESSES, values, values > counts, f"at most {name}{TRIALS}")
        if name + PROBABILITY in frame.columns:
            values = numbers(frame[name + PROBABILITY])
            check(name + PROBABILITY, values, (values < 0) | (values > 1), "0 to 1 or blank")


def _hints(
    target: str, text: Sequence[str], bad: NDArray[np.bool_]
) -> Mapping[str, NDArray[np.bool_]]:
    """Return the bad rows by what their text seems to be, said as a hint."""
    rate = f": for a rate, give counts in {target}{SUCCESSES} and {target}{TRIALS}"
    found: dict[str, NDArray[np.bool_]] = {}
    for row in np.flatnonzero(bad).tolist():
        value = text[row]
        hint = ""
        if value.casefold() in MISSING:
            hint = ": leave a missing value blank"
        elif value.endswith("%") or _is_fraction(value):
            hint = rate
        found.setdefault(hint, np.zeros(len(bad), bool))[row] = True
    return found


def _is_fraction(text: str) -> bool:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return False
    return not number.is_integer() if np.isfinite(number) else False


def outcomes(frame: pd.DataFrame, name: str, directions: Mapping[str, Direction]) -> Outcomes:
    """Collect the outcomes of one target, from checked rows."""
    if name in frame.columns:
        row = np.flatnonzero(frame[name].to_numpy(object) != "")
        label = _labels(frame[name])[row]
        weight = np.ones(len(row))
    else:
        counted = np.flatnonzero(frame[name + TRIALS].to_numpy(object) != "")
        successes = numbers(frame[name + SUCCESSES])[counted]
        failures = numbers(frame[name + TRIALS])[counted] - successes
        # s ones among n have the log loss of a 1 with weight s and a 0 with weight n - s
        row = np.concatenate([counted, counted])
        label = np.concatenate([np.ones(len(counted)), np.zeros(len(counted))])
        weight = np.concatenate([successes, failures])
        order = np.argsort(row, kind="stable")
        order = order[weight[order] > 0]
        row, label, weight = row[order], label[order], weight[order]
    truth = None
    if name + PROBABILITY in frame.columns:
        probability = numbers(frame[name + PROBABILITY])[row]
        truth = probability if np.isfinite(probability).all() else None
    return Outcomes(resolve_target(name, dict(directions)), row, label, weight, truth)


def _labels(column: pd.Series) -> NDArray[np.float64]:
    """Convert outcomes to float64 (N,): numbers, and true and false in words; NaN for others."""
    words = column.str.lower().map(WORDS).to_numpy(np.float64, na_value=np.nan)
    values = numbers(column)
    return np.asarray(np.where(np.isnan(values), words, values), np.float64)
