"""The manifest: which images were shown, in which campaigns, and with which outcomes.

It has one row per shown image. ``relative_im_path`` is the image's file, relative to the images
folder, ``augmentation`` the augmentation applied to it, ``original`` the image it was made from:

- ``original`` is blank or the row's own file: the file is the original. If ``augmentation`` is
  another one, training makes the candidate from it: a history of six candidates needs one file.
  ``simulate`` writes this form.
- ``original`` is another path: the file is the augmented image. Its ``augmentation`` is
  ``original`` if none of the set's was applied.

A target is a column of 0 and 1 (or false and true), or a pair ``<target>_successes``,
``<target>_trials``; a row with a blank cell is left out of that target. ``<target>_probability``,
the true probability where the generating process is known, gives the ceilings of the report and is
never an input. Any other column is an attribute of the image or the campaign; ``--context`` makes
it context.
``aliases`` lists the other accepted column names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import (
    AUGMENTATION,
    DEFAULT_CONTEXT,
    ORIGINAL_FILE,
    PATH,
    PROBABILITY,
    SHA256,
    SPLIT,
    SUCCESSES,
    TRIALS,
)
from augrank.manifest.cells import clean_name
from augrank.manifest.columns import check_augmentations, check_originals
from augrank.manifest.paths import check_paths
from augrank.manifest.problems import Problems, Table
from augrank.manifest.text_column import TextColumn, first_rows, kept_rows
from training.data.manifest.context import (
    Kind,
    check_context,
    doubts,
    find_context,
    merge_spellings,
    numeric_columns,
)
from training.data.manifest.rows import ManifestRows
from training.data.manifest.targets import check_target, find_targets, possible_targets


@dataclass(frozen=True, kw_only=True)
class Manifest(ManifestRows):
    """A validated manifest of shown images. Originals are numbered in the order of their names."""

    originals: tuple[str, ...]  # every distinct original
    original: NDArray[np.int64]  # (N,) index into originals
    label: NDArray[np.int64]  # (N,) augmentation of the image, index into the set's names
    applied: NDArray[np.int64]  # (N,) augmentation that training applies to the file; 0: none
    context: tuple[str, ...]  # the context columns
    numeric: frozenset[str]  # those of numbers; the others are categories

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
        kept, left_out = self.settled(bad, skip=skip)
        present, original = np.unique(self.original[kept], return_inverse=True)
        return replace(
            self,
            frame=kept_rows(self.frame, kept),
            lines=self.lines[kept],
            file=self.file[kept],
            originals=tuple(self.originals[number] for number in present),
            original=original.astype(np.int64),
            label=self.label[kept],
            applied=self.applied[kept],
            left_out=left_out,
        )


@dataclass(frozen=True)
class ManifestOptions:
    """What to read of a manifest."""

    targets: Sequence[str] | None = None  # by default all of the table (``find_targets``)
    context: Sequence[str] | None = None  # columns; by default the standard ones of the table
    # Kinds of context columns; by default most of their cells decide.
    context_types: Mapping[str, Kind] = field(default_factory=dict)
    skip_bad_rows: bool = False  # leave bad rows out instead of failing

    def cleaned(self) -> "ManifestOptions":
        """Return the options with names of columns as a table has them: stripped, in NFC."""
        types = {clean_name(name): kind for name, kind in self.context_types.items()}
        return replace(
            self,
            targets=None if self.targets is None else list(map(clean_name, self.targets)),
            context=None if self.context is None else list(map(clean_name, self.context)),
            context_types=types,
        )


def check_manifest(
    table: Table,
    images: Path,
    augmentations: Sequence[str],
    options: ManifestOptions = ManifestOptions(),
) -> Manifest:
    """Validate every row.

    Args:
        table: the result of ``read_table``.
        images: the folder that paths are relative to.
        augmentations: the set's names, in order.
        options: what to read.

    Raises:
        DataError: bad rows, with line numbers; an unknown target or context column.
    """
    frame, options = table.frame, options.cleaned()
    problems = Problems.of(table)
    file = check_paths(frame[PATH], images, problems)
    label = check_augmentations(frame, augmentations, problems)
    original = check_originals(frame, file, problems)
    for name in find_targets(frame, options.targets):
        check_target(frame, name, problems)
    context = find_context(frame, options.context)
    numeric = numeric_columns(frame, context, options.context_types)
    for name in context:
        check_context(frame[name], name in numeric, problems)
    left_out = problems.settle(table.source, skip=options.skip_bad_rows)

    kept = ~problems.bad
    frame, merged = merge_spellings(kept_rows(frame, kept), context, numeric)
    file, original, label = file.select(kept), original.select(kept), label[kept]
    files, file_number = file.numbered()
    originals, original_number = original.numbered()
    return Manifest(
        source=table.source,
        images=images.resolve(),
        frame=frame,
        lines=table.lines[kept],
        unit=table.unit,
        files=files,
        originals=originals,
        file=file_number,
        original=original_number,
        label=label,
        applied=np.where(file.equals(original), label, 0),
        context=context,
        numeric=numeric,
        left_out=left_out,
        notes=table.notes + merged + doubts(frame, context, numeric, options.context_types),
    )


def attribute_columns(manifest: Manifest) -> tuple[str, ...]:
    """Return the columns that describe the image: constant within every original.

    Targets, the manifest's own columns and the standard campaign columns are left out.
    """
    frame = manifest.frame
    targets = possible_targets(frame)
    endings = ("", SUCCESSES, TRIALS, PROBABILITY)
    not_attributes = {PATH, AUGMENTATION, ORIGINAL_FILE, SPLIT, SHA256, *DEFAULT_CONTEXT}
    not_attributes |= {target + ending for target in targets for ending in endings}
    names = [name for name in frame.columns if name not in not_attributes]
    first = first_rows(manifest.original, len(manifest.originals))[manifest.original]
    codes = {name: TextColumn.of(frame[name]).codes for name in names}
    return tuple(name for name in names if (codes[name] == codes[name][first]).all())
