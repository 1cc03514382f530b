"""The manifest: which images were shown, in which campaigns, and with which outcomes.

It has one row per shown image. ``relative_im_path`` is the image's file, relative to the images
folder, ``augmentation`` the augmentation applied to it, ``original`` the image it was made from:

- ``original`` is blank or the row's own file: the file is the original. If ``augmentation`` is
  another one, training makes the candidate from it: a history of six candidates needs one file.
  ``simulate`` writes this form.
- ``original`` is another path: the file is the augmented image. Its ``augmentation`` is
  ``original`` if none of the set's was applied.

A target is a column of 0 and 1, or a pair ``<target>_successes``, ``<target>_trials``; a row with
a blank cell is left out of that target. ``<target>_probability``, the true probability where the
generating process is known, gives the ceilings of the report and is never an input. Any other
column is an attribute of the image or the campaign; ``--context`` makes it context.
``aliases`` lists the other accepted column names.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.contracts.manifest import (
    AUGMENTATION,
    DEFAULT_CONTEXT,
    ORIGINAL_FILE,
    PATH,
    PROBABILITY,
    PRODUCT_TYPE,
    SHA256,
    SPLIT,
    SUCCESSES,
    TRIALS,
)
from augrank.errors import DataError, one_of
from augrank.models.context import (
    CategoricalColumn,
    ContextColumn,
    ContextEncoder,
    NumericColumn,
    normalize_category,
)
from augrank.models.targets import TARGET_ALIASES, TARGETS, Direction, Target, resolve_target
from training.data.manifest.read import BadRow, Problems, Table
from training.data.manifest.validate import (
    check_augmentations,
    check_context,
    check_originals,
    check_paths,
    check_target,
    is_numeric,
    numbers,
)

MAX_VALUES = 1000  # of a categorical context column; more is an identifier


@dataclass(frozen=True)
class Outcomes:
    """The outcomes of one target. A pair of counts becomes two weighted rows."""

    target: Target
    row: NDArray[np.int64]  # (R,) rows of the manifest
    label: NDArray[np.float64]  # (R,) 0 or 1
    weight: NDArray[np.float64]  # (R,) number of outcomes
    truth: NDArray[np.float64] | None  # (R,) true probabilities, if known


@dataclass(frozen=True)
class Manifest:
    """A validated manifest. Files and originals are numbered in the order of their names."""

    source: Path
    images: Path
    frame: pd.DataFrame  # (N rows), text, valid rows only
    lines: NDArray[np.int64]  # (N,)
    unit: str
    files: tuple[str, ...]  # every distinct file, relative to images
    originals: tuple[str, ...]  # every distinct original
    file: NDArray[np.int64]  # (N,) index into files
    original: NDArray[np.int64]  # (N,) index into originals
    label: NDArray[np.int64]  # (N,) augmentation of the image, index into the set's names
    applied: NDArray[np.int64]  # (N,) augmentation that training applies to the file; 0: none
    left_out: tuple[BadRow, ...]  # in order of their lines
    notes: tuple[str, ...] = ()  # changes made while reading, for the user

    @property
    def skipped(self) -> int:
        """The number of bad rows that were left out."""
        return len(self.left_out)

    def without(self, bad: Mapping[int, str], *, skip: bool) -> "Manifest":
        """Return the manifest without the rows of files that cannot be decoded.

        Args:
            bad: the reason, by number of the file.
            skip: leave them out instead of failing.

        Raises:
            DataError: there are such rows and ``skip`` is off.
        """
        if not bad:
            return self
        problems = Problems(self.unit, self.lines)
        for number, why in bad.items():
            problems.add(self.file == number, f"{self.files[number]}: {why}")
        left_out = problems.settle(self.source, skip=skip)
        kept = ~problems.bad
        present, original = np.unique(self.original[kept], return_inverse=True)
        return replace(
            self,
            frame=self.frame[kept].reset_index(drop=True),
            lines=self.lines[kept],
            file=self.file[kept],
            originals=tuple(self.originals[number] for number in present),
            original=original.astype(np.int64),
            label=self.label[kept],
            applied=self.applied[kept],
            left_out=tuple(sorted(self.left_out + left_out)),
        )


def check_manifest(
    table: Table,
    images: Path,
    augmentations: Sequence[str],
    *,
    targets: Sequence[str] | None = None,
    context: Sequence[str] | None = None,
    skip_bad_rows: bool = False,
) -> Manifest:
    """Validate every row.

    Args:
        table: the result of ``read_table``.
        images: the folder that paths are relative to.
        augmentations: the set's names, in order.
        targets: by default all targets of the table (``find_targets``).
        context: context columns; by default the standard ones of the table.
        skip_bad_rows: leave bad rows out instead of failing.

    Raises:
        DataError: bad rows, with line numbers; an unknown target or context column.
    """
    frame = table.frame
    problems = Problems(table.unit, table.lines)
    file = check_paths(frame[PATH], images, problems)
    label = check_augmentations(frame, augmentations, problems)
    original = check_originals(frame, file, problems)
    for name in find_targets(frame, targets):
        check_target(frame, name, problems)
    context = find_context(frame, context)
    for name in context:
        check_context(frame[name], problems)
    left_out = problems.settle(table.source, skip=skip_bad_rows)

    kept = ~problems.bad
    frame, merged = merge_spellings(frame[kept].reset_index(drop=True), _categories(frame, context))
    file, original, label = file[kept], original[kept], label[kept]
    files, file_number = np.unique(file, return_inverse=True)
    originals, original_number = np.unique(original, return_inverse=True)
    is_original = file == original
    return Manifest(
        source=table.source,
        images=images.resolve(),
        frame=frame,
        lines=table.lines[kept],
        unit=table.unit,
        files=tuple(map(str, files)),
        originals=tuple(map(str, originals)),
        file=file_number.astype(np.int64),
        original=original_number.astype(np.int64),
        label=label,
        applied=np.where(is_original, label, 0),
        left_out=left_out,
        notes=table.notes + merged,
    )


def _categories(frame: pd.DataFrame, context: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of categories: the context, and the product type of alternates."""
    return tuple(dict.fromkeys([*context, *({PRODUCT_TYPE} & set(frame.columns))]))


def merge_spellings(
    frame: pd.DataFrame, names: Sequence[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Give each category of the context one spelling: the most frequent, on ties the first.

    Spellings belong to one category if only case and separators differ (``normalize_category``).

    Returns:
        The frame, and a note for each column in which spellings were merged.
    """
    notes = []
    for name in names:
        if is_numeric(frame[name]):
            continue
        spellings: dict[str, list[str]] = {}
        for value, _ in Counter(frame[name]).most_common():  # on ties, the first seen
            spellings.setdefault(normalize_category(value) or value, []).append(value)
        merged = {first: others for first, *others in spellings.values() if others}
        if merged:
            chosen = {other: first for first, others in merged.items() for other in others}
            frame = frame.assign(**{name: frame[name].replace(chosen)})
            read = (f"{', '.join(map(repr, o))} as {first!r}" for first, o in merged.items())
            notes.append(f"{name}: read " + "; ".join(read))
    return frame, tuple(notes)


def find_targets(frame: pd.DataFrame, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the table's targets: standard names, and names with a pair or a ``_probability``.

    An alias of a standard target counts if most of its cells hold 0 or 1.

    Raises:
        DataError: a wanted target that the table does not have.
    """
    columns = set(frame.columns)
    counted = {name.removesuffix(SUCCESSES) for name in columns if name.endswith(SUCCESSES)}
    simulated = {name.removesuffix(PROBABILITY) for name in columns if name.endswith(PROBABILITY)}
    pairs = {name for name in counted if name + TRIALS in columns}
    aliases = {name for name in TARGET_ALIASES if name in columns and _holds_outcomes(frame[name])}
    found = pairs | aliases | (columns & ({*TARGETS} | simulated))
    if wanted is None:
        standard = [name for name in (*TARGETS, *TARGET_ALIASES) if name in found]
        return (*standard, *sorted(found - set(standard)))
    for name in wanted:
        if name not in columns and name not in pairs:
            raise DataError(
                f"the manifest has no target {name!r}",
                expected=one_of(sorted(found), name)
                if found
                else f"a column {name} of 0 and 1, or {name}{SUCCESSES} and {name}{TRIALS}",
                remedy="If the column has another name, give it with --column.",
            )
    return tuple(wanted)


def _holds_outcomes(column: pd.Series) -> bool:
    """Return whether at least half of the cells that are not blank hold 0 or 1."""
    values = numbers(column[column != ""])
    return len(values) > 0 and float(np.isin(values, (0, 1)).mean()) >= 0.5


def find_context(frame: pd.DataFrame, wanted: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the context columns: the wanted ones, or the standard ones that the table has.

    Raises:
        DataError: a wanted column that the table does not have.
    """
    if wanted is None:
        return tuple(name for name in DEFAULT_CONTEXT if name in frame.columns)
    for name in wanted:
        if name not in frame.columns:
            raise DataError(
                f"the manifest has no context column {name!r}", expected=one_of(frame.columns, name)
            )
    return tuple(wanted)


def outcomes(manifest: Manifest, name: str, directions: Mapping[str, Direction]) -> Outcomes:
    """Collect the outcomes of one target."""
    frame = manifest.frame
    if name in frame.columns:
        row = np.flatnonzero(frame[name].to_numpy(object) != "")
        label = numbers(frame[name])[row]
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


def context_columns(manifest: Manifest, names: Sequence[str]) -> tuple[ContextColumn, ...]:
    """Describe the context columns: numeric ones by their range, categorical ones by values."""
    columns: list[ContextColumn] = []
    for name in names:
        if is_numeric(manifest.frame[name]):
            values = numbers(manifest.frame[name])
            low, high = float(values.min()), float(values.max())
            columns.append(NumericColumn(name=name, low=low, high=high))
            continue
        vocabulary = tuple(sorted(set(manifest.frame[name])))
        if len(vocabulary) > MAX_VALUES:
            raise DataError(
                f"context column {name!r} looks like an identifier",
                expected=f"at most {MAX_VALUES:,} different values",
                got=f"{len(vocabulary):,}",
                remedy="Leave it out of --context.",
            )
        columns.append(CategoricalColumn(name=name, values=vocabulary))
    return tuple(columns)


def encode_context(
    manifest: Manifest, columns: Sequence[ContextColumn]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Encode every distinct context once, with the runtime's encoder.

    Returns:
        The distinct contexts, float32 (K, width), and the context of each row, int64 (N,).
    """
    encoder = ContextEncoder(columns)
    if not columns:
        return np.zeros((1, 0), np.float32), np.zeros(len(manifest.frame), np.int64)
    names = [column.name for column in columns]
    groups = manifest.frame.groupby(names, sort=True, dropna=False)
    keys = list(groups.indices)  # values, or a tuple of them, in the order of ngroup()
    values = [key if isinstance(key, tuple) else (key,) for key in keys]
    contexts = [dict(zip(names, distinct, strict=True)) for distinct in values]
    return encoder.encode_many(contexts), groups.ngroup().to_numpy(np.int64)


def attribute_columns(manifest: Manifest) -> tuple[str, ...]:
    """Return the columns that describe the image: constant within every original.

    Targets, the manifest's own columns and the standard campaign columns are left out.
    """
    frame = manifest.frame
    targets = find_targets(frame)
    endings = ("", SUCCESSES, TRIALS, PROBABILITY)
    not_attributes = {PATH, AUGMENTATION, ORIGINAL_FILE, SPLIT, SHA256, *DEFAULT_CONTEXT}
    not_attributes |= {target + ending for target in targets for ending in endings}
    names = [name for name in frame.columns if name not in not_attributes]
    if not names:
        return ()
    varied = frame[names].groupby(manifest.original).nunique().max()
    return tuple(name for name in names if varied[name] <= 1)


def fingerprint(manifest: Manifest, image_sha256: Sequence[str]) -> str:
    """Return the sha256 of every row and of every image's bytes."""
    digest = hashlib.sha256()
    digest.update("\x1f".join(manifest.frame.columns).encode())
    rows = pd.util.hash_pandas_object(manifest.frame, index=False).to_numpy()
    digest.update(rows.tobytes())
    digest.update("\n".join(image_sha256).encode())
    return digest.hexdigest()
