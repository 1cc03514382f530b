"""Numbers in a manifest's text."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def numbers(column: pd.Series) -> NDArray[np.float64]:
    """Convert text to float64 (N,); NaN where it is not a number."""
    values = pd.to_numeric(column, errors="coerce")
    return np.asarray(values.to_numpy(np.float64, na_value=np.nan), np.float64)


def is_numeric(column: pd.Series) -> bool:
    """Return whether at least half of the non-blank cells hold numbers."""
    text = column[column != ""].str.lower()
    words = pd.to_numeric(text, errors="coerce").isna() & ~text.isin(["nan", "inf", "-inf"])
    return len(text) > 0 and float(words.mean()) <= 0.5
