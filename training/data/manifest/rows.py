"""The rows of a manifest that every task has: one image file each."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.manifest.problems import BadRow, Problems


@dataclass(frozen=True, kw_only=True)
class ManifestRows:
    """Valid rows. Files are numbered in the order of their names."""

    source: Path
    images: Path
    frame: pd.DataFrame  # (N rows), categories of text (``TextColumn``), valid rows only
    lines: NDArray[np.int64]  # (N,)
    unit: str  # what ``lines`` counts
    files: tuple[str, ...]  # every distinct file, relative to images
    file: NDArray[np.int64]  # (N,) index into files
    left_out: tuple[BadRow, ...]  # in order of their lines
    notes: tuple[str, ...] = ()  # changes made while reading, for the user

    @property
    def skipped(self) -> int:
        """The number of bad rows that were left out."""
        return len(self.left_out)

    def settled(
        self, bad: Mapping[int, str], *, skip: bool
    ) -> tuple[NDArray[np.bool_], tuple[BadRow, ...]]:
        """Return which rows have none of these files, (N,), and all that are left out.

        Args:
            bad: the reason, by number of the file.
            skip: leave their rows out instead of failing.

        Raises:
            DataError: there are such rows and ``skip`` is off.
        """
        problems = Problems(self.unit, self.lines)
        for number, why in bad.items():
            problems.add(self.file == number, f"{self.files[number]}: {why}")
        left_out = problems.settle(self.source, skip=skip)
        return ~problems.bad, tuple(sorted(self.left_out + left_out))


def fingerprint(manifest: ManifestRows, image_sha256: Sequence[str]) -> str:
    """Return the sha256 of every row and of every image's bytes."""
    digest = hashlib.sha256()
    digest.update("\x1f".join(manifest.frame.columns).encode())
    rows = pd.util.hash_pandas_object(manifest.frame, index=False).to_numpy()
    digest.update(rows.tobytes())
    digest.update("\n".join(image_sha256).encode())
    return digest.hexdigest()
