"""Write a simulated campaign history: a manifest that ``fit`` reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from augrank.contracts.manifest import (
    AUGMENTATION,
    CAMPAIGN_TYPE,
    INDUSTRY,
    ORIGINAL_FILE,
    PATH,
    PROBABILITY,
)
from augrank.errors import DataError
from augrank.files import atomic_write, disk_errors
from augrank.manifest.problems import Table
from simulation.engagement import (
    CAMPAIGN_TYPES,
    INDUSTRIES,
    Engagement,
    SimulationOptions,
    simulate,
)
from training.data.manifest.manifest import ManifestOptions, attribute_columns, check_manifest

PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True)
class History:
    """The written history."""

    out: Path
    originals: int
    rows: int
    engagement: Engagement
    skipped: int  # bad rows of the input
    notes: tuple[str, ...] = ()  # changes made while reading the input


def write_history(
    table: Table,
    images: Path,
    out: Path,
    augmentations: Sequence[str],
    options: SimulationOptions = SimulationOptions(),
    *,
    skip_bad_rows: bool = False,
) -> History:
    """Simulate outcomes for every original of a manifest and write them as a manifest.

    Args:
        table: the catalogue; attributes of its originals are kept, campaigns and targets are
            replaced.
        images: folder of its images; the written paths are relative to it too.
        out: the file to write: Parquet if its suffix says so, else CSV.
        augmentations: the set's names, in order.
        options: of the simulation.
        skip_bad_rows: leave bad rows out instead of failing.

    Raises:
        DataError: bad rows, or the history cannot be written.
    """
    if out.suffix.lower() not in (".csv", *PARQUET_SUFFIXES):
        raise DataError(
            f"--out {out} is of a format that cannot be written",
            expected="a name that ends in .csv or .parquet",
            got=out.suffix or "no ending",
        )
    reading = ManifestOptions(targets=(), context=(), skip_bad_rows=skip_bad_rows)
    manifest = check_manifest(table, images, augmentations, reading)
    shown = np.isin(manifest.files, manifest.originals)[manifest.file]
    first = manifest.frame[shown].drop_duplicates(PATH).astype(str)
    kept = [name for name in attribute_columns(manifest) if name != ORIGINAL_FILE]
    sent = simulate(len(first), augmentations, options)
    frame = first[[PATH]].iloc[sent.original].reset_index(drop=True)
    frame[AUGMENTATION] = np.array(augmentations, object)[sent.augmentation]
    attributes = first[kept].iloc[sent.original].reset_index(drop=True)
    frame = pd.concat([frame, attributes], axis=1)
    frame[CAMPAIGN_TYPE] = np.array(CAMPAIGN_TYPES, object)[sent.campaign_type]
    frame[INDUSTRY] = np.array(INDUSTRIES, object)[sent.industry]
    for number, target in enumerate(sent.targets):
        frame[target] = sent.outcomes[:, number]
        frame[target + PROBABILITY] = sent.probabilities[:, number].round(6)
    remedy = "Free space there, or give another --out."
    with disk_errors(out.parent, remedy), atomic_write(out) as temporary:
        if out.suffix.lower() in PARQUET_SUFFIXES:
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False, lineterminator="\n")
    return History(out, len(first), len(frame), sent, manifest.skipped, manifest.notes)
