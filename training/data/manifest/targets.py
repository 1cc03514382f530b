"""The targets of a manifest: which there are, and their outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.contracts.manifest import PROBABILITY, SUCCESSES, TRIALS
from augrank.errors import DataError, one_of
from augrank.manifest.problems import VALUE, Problems
from augrank.manifest.text_column import TextColumn
from augrank.manifest.values import numbers, share
from augrank.models.targets import TARGET_ALIASES, TARGETS, Direction, Target, resolve_target

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
    label: Float64Array  # (R,) 0 or 1
    weight: Float64Array  # (R,) number of outcomes; not to be written to: it may be one number
    truth: Float64Array | None  # (R,) true probabilities, if known


@dataclass(frozen=True)
class TargetOutcomes:
    """The outcomes of several targets, each collected when it is asked for.

    Those of ten million rows take a quarter of a gigabyte for each target.
    """

    frame: pd.DataFrame  # checked rows
    names: tuple[str, ...]  # of the targets
    directions: Mapping[str, Direction]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Outcomes:
        return outcomes(self.frame, self.names[number], self.directions)

    def __iter__(self) -> Iterator[Outcomes]:
        return (self[number] for number in range(len(self)))


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
    aliases = {
        name
        for name in TARGET_ALIASES
        if name in columns and _holds_outcomes(TextColumn.of(frame[name]))
    }
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


def _holds_outcomes(cells: TextColumn) -> bool:
    """Return whether at least half of the cells that are not blank hold 0 or 1."""
    return share(cells, np.isin(_labels(cells.texts), (0, 1))) >= 0.5


def check_target(frame: pd.DataFrame, name: str, problems: Problems) -> None:
    """Check that outcomes are 0, 1 or blank, or integer counts, and true probabilities 0 to 1."""

    def check(cells: TextColumn, right: NDArray[np.bool_], column: str, why: str) -> None:
        bad = ~right & ~problems.bad
        for hint, rows in _hints(name, cells, bad).items():
            problems.add(rows, f"{column}: expected {why}, got {VALUE}{hint}", cells)

    if name in frame.columns:
        cells = TextColumn.of(frame[name])
        right = np.isin(_labels(cells.texts), (0, 1))[cells.codes]
        check(cells, right | cells.blank, name, "0, 1 or blank")
    else:
        successes, trials = (TextColumn.of(frame[name + each]) for each in (SUCCESSES, TRIALS))
        for cells, other, ending in ((trials, successes, TRIALS), (successes, trials, SUCCESSES)):
            right = _is_count(cells.texts)[cells.codes]
            needless = cells.blank & other.blank
            check(cells, right | needless, name + ending, "a whole number")
        most = numbers(trials.texts)[trials.codes]
        right = numbers(successes.texts)[successes.codes] <= most
        check(successes, right | successes.blank, name + SUCCESSES, f"at most {name}{TRIALS}")
    if name + PROBABILITY in frame.columns:
        cells = TextColumn.of(frame[name + PROBABILITY])
        values = numbers(cells.texts)
        right = ((values >= 0) & (values <= 1))[cells.codes]
        check(cells, right | cells.blank, name + PROBABILITY, "0 to 1 or blank")


def _is_count(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Return which texts are whole numbers from 0, (K,)."""
    values = numbers(texts)
    return np.asarray(np.isfinite(values) & (values >= 0) & (values == np.floor(values)), bool)


def _hints(
    target: str, cells: TextColumn, bad: NDArray[np.bool_]
) -> Mapping[str, NDArray[np.bool_]]:
    """Return the bad rows by what their text seems to be, said as a hint."""
    codes: dict[str, list[int]] = {}
    for code in np.unique(cells.codes[bad]).tolist():
        codes.setdefault(_hint(target, cells.texts[code]), []).append(code)
    return {hint: bad & np.isin(cells.codes, alike) for hint, alike in codes.items()}


def _hint(target: str, text: str) -> str:
    if text.casefold() in MISSING:
        return ": leave a missing value blank"
    if text.endswith("%") or _is_fraction(text):
        return f": for a rate, give counts in {target}{SUCCESSES} and {target}{TRIALS}"
    return ""


def _is_fraction(text: str) -> bool:
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return False
    return not number.is_integer() if np.isfinite(number) else False


def outcomes(frame: pd.DataFrame, name: str, directions: Mapping[str, Direction]) -> Outcomes:
    """Collect the outcomes of one target, from checked rows."""
    weight: Float64Array
    if name in frame.columns:
        cells = TextColumn.of(frame[name])
        row = np.flatnonzero(~cells.blank)
        label = _labels(cells.texts)[cells.codes[row]]
        weight = np.broadcast_to(1.0, len(row))
    else:
        won, trials = (TextColumn.of(frame[name + each]) for each in (SUCCESSES, TRIALS))
        counted = np.flatnonzero(~trials.blank)
        successes = numbers(won.texts)[won.codes[counted]]
        failures = numbers(trials.texts)[trials.codes[counted]] - successes
        # s ones among n have the log loss of a 1 with weight s and a 0 with weight n - s
        row = np.concatenate([counted, counted])
        label = np.concatenate([np.ones(len(counted)), np.zeros(len(counted))])
        weight = np.concatenate([successes, failures])
        order = np.argsort(row, kind="stable")
        order = order[weight[order] > 0]
        row, label, weight = row[order], label[order], weight[order]
    truth = None
    if name + PROBABILITY in frame.columns:
        cells = TextColumn.of(frame[name + PROBABILITY])
        probability = numbers(cells.texts)[cells.codes[row]]
        truth = probability if np.isfinite(probability).all() else None
    return Outcomes(resolve_target(name, dict(directions)), row, label, weight, truth)


def _labels(texts: Sequence[str]) -> Float64Array:
    """Convert outcomes to float64 (K,): numbers, and true and false in words; NaN for others."""
    words = np.array([WORDS.get(text.lower(), np.nan) for text in texts], np.float64)
    values = numbers(texts)
    return np.asarray(np.where(np.isnan(values), words, values), np.float64)
