"""Numbers in a manifest's text."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from augrank.arrays import Float64Array
from augrank.manifest.text_column import TextColumn


def numbers(texts: Sequence[str]) -> Float64Array:
    """Convert distinct texts to float64 (K,); NaN where one is not a number."""
    values = pd.to_numeric(np.array(texts, object), errors="coerce")
    return np.asarray(values, np.float64)


def is_numeric(column: "pd.Series[str]") -> bool:
    """Return whether at least half of the non-blank cells hold numbers."""
    cells = TextColumn.of(column)
    texts = [text.lower() for text in cells.texts]
    words = np.isnan(numbers(texts)) & ~np.isin(texts, ("nan", "inf", "-inf"))
    return share(cells, ~words) >= 0.5


def share(cells: TextColumn, chosen: NDArray[np.bool_]) -> float:
    """Return the share of the non-blank cells that have one of the chosen texts; 0 of none.

    Args:
        cells: the column.
        chosen: of its texts, (K,).
    """
    counts = cells.counts
    counts[0] = 0  # blank
    return float(counts[chosen].sum() / max(counts.sum(), 1))
