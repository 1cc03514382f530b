"""Write a manifest and read it back."""

from pathlib import Path

import pandas as pd

from augrank.images.augmentations import augmentation_set
from augrank.manifest.read import read_table
from training.data.manifest.manifest import Manifest, ManifestOptions, check_manifest

NAMES = augmentation_set("seed").names


def read(folder: Path, content: str | pd.DataFrame, columns=None, **options) -> Manifest:
    """Return the manifest of a CSV file with this content, checked against the seed's names."""
    file = folder / "history.csv"
    text = content if isinstance(content, str) else content.to_csv(index=False)
    file.write_text(text, encoding="utf-8")
    table = read_table(file, columns or {})
    return check_manifest(table, folder, NAMES, ManifestOptions(**options))
