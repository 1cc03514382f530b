"""Rename columns of the source documents to the manifest's own names.

The documents that the project follows use other column names: ``augment_label``,
``Campaign types``, ``Click_to_Open_Rate``. These names, and the manifest's own, match regardless of
case and separators (space, ``_``, ``-``), and are renamed while the table is read. Nothing else is
guessed: any other column keeps its name, and ``--column`` takes precedence.

``augment_label`` holds codes: 0 brighter, 1 darker, 2 original, 3 rotate, 4 sketch, 5 swivel. A
table with that column and without ``original`` lists every augmented image as a file of its own.
The original of each is the one file labelled ``original`` of the same product (``shoe_brand``,
``shoe_gender``, ``shoe_name``). If a file has several labels, it is itself the original,
and training makes the candidates, as in any manifest.
"""

import difflib
from collections.abc import Iterable, Mapping

import pandas as pd

from augrank.contracts.manifest import (
    AUGMENTATION,
    CAMPAIGN_TYPE,
    INDUSTRY,
    ORIGINAL_FILE,
    PATH,
    PROBABILITY,
    PRODUCT_TYPE,
    SUCCESSES,
    TRIALS,
)
from augrank.errors import DataError
from augrank.images.augmentations import ORIGINAL
from augrank.manifest.text_column import TextColumn, combinations
from augrank.models.context import normalize_category
from augrank.models.targets import TARGET_ALIASES, TARGETS

AUGMENT_LABEL = "augment_label"
AUGMENT_LABELS = ("brighter", "darker", ORIGINAL, "rotate", "sketch", "swivel")  # codes 0 to 5
PRODUCT = ("shoe_brand", "shoe_gender", "shoe_name")  # names a product of such a table

COLUMN_ALIASES = {
    AUGMENT_LABEL: AUGMENTATION,
    "campaign_types": CAMPAIGN_TYPE,
    "industry_type": INDUSTRY,
    "industry_types": INDUSTRY,
}
_OWN_NAMES = (
    PATH,
    AUGMENTATION,
    ORIGINAL_FILE,
    PRODUCT_TYPE,
    CAMPAIGN_TYPE,
    INDUSTRY,
    *PRODUCT,
    *(
        target + ending
        for target in (*TARGETS, *TARGET_ALIASES)
        for ending in ("", SUCCESSES, TRIALS, PROBABILITY)
    ),
)
_BY_NORMAL_FORM = {normalize_category(name): name for name in _OWN_NAMES} | {
    normalize_category(alias): name for alias, name in COLUMN_ALIASES.items()
}

_CLOSE = 0.85  # similarity of names, 0 to 1


def is_known_name(column: str) -> bool:
    """Return whether a column's name is one of ours, in any case and with any separators."""
    return normalize_category(column) in _BY_NORMAL_FORM


def near_misses(columns: Iterable[str]) -> tuple[str, ...]:
    """Describe columns that are nearly ones that training would use, and are not."""
    names = list(map(str, columns))
    notes = []
    for one, other in ((SUCCESSES, TRIALS), (TRIALS, SUCCESSES)):
        for name in names:
            target = name.removesuffix(one)
            if target != name and target + other not in names:
                notes.append(f"{name} has no {target}{other}, so it is not a target")
    known = {_letters(name): name for name in _OWN_NAMES}
    for name in names:
        if name in _OWN_NAMES:
            continue
        close = difflib.get_close_matches(_letters(name), known, 1, _CLOSE)
        meant = known[close[0]] if close else None
        if meant and meant not in names:
            notes.append(f"column {name!r} is not {meant}: if it means that, rename it")
    return tuple(notes)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def apply_aliases(
    frame: pd.DataFrame, mapped: Mapping[str, str] | None = None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Rename the columns that match a known name, and decode ``augment_label``.

    Args:
        frame: text, as read.
        mapped: our names and the table's, of the columns that ``--column`` has renamed.

    Returns:
        The frame, and notes for the user.

    Raises:
        DataError: two columns mean one name, or the originals of augmented files are not known.
    """
    mapped = mapped or {}
    names = _matches(frame, mapped)
    notes = [f"column {column!r} is read as {name}" for column, name in names.items()]
    frame = frame.rename(columns=names)
    former = {name: column for column, name in names.items()} | dict(mapped)
    if normalize_category(former.get(AUGMENTATION, "")) != normalize_category(AUGMENT_LABEL):
        return frame, tuple(notes)
    codes = {str(code): name for code, name in enumerate(AUGMENT_LABELS)}
    frame[AUGMENTATION] = TextColumn.of(frame[AUGMENTATION]).replace(codes).categorical
    notes.append(f"{AUGMENT_LABEL}: " + ", ".join(f"{n} is {name}" for n, name in codes.items()))
    if ORIGINAL_FILE not in frame.columns and _lists_augmented_files(frame):
        originals, note = _originals(frame)
        frame[ORIGINAL_FILE] = originals.categorical
        notes.append(note)
    return frame, tuple(notes)


def _matches(frame: pd.DataFrame, mapped: Mapping[str, str]) -> dict[str, str]:
    """Return the columns to rename, and their names."""
    names: dict[str, str] = {}
    for column in map(str, frame.columns):
        name = _BY_NORMAL_FORM.get(normalize_category(column), column)
        if column == name or name in mapped:
            continue
        if name in frame.columns or name in names.values():
            rival = next((other for other, taken in names.items() if taken == name), name)
            raise DataError(
                f"the columns {rival!r} and {column!r} both mean {name}",
                expected="one of them",
                remedy=f"Choose with --column {name}=NAME.",
            )
        names[column] = name
    return names


def _lists_augmented_files(frame: pd.DataFrame) -> bool:
    """Return whether every file has one label, and some of them have been augmented."""
    if PATH not in frame.columns:
        return False
    file, label = TextColumn.of(frame[PATH]), TextColumn.of(frame[AUGMENTATION])
    first = label.codes[file.first_rows][file.codes]  # of the same file
    augmented = label.has(lambda text: text not in ("", ORIGINAL))
    return bool(augmented.any()) and bool((label.codes == first).all())


def _originals(frame: pd.DataFrame) -> tuple[TextColumn, str]:
    """Return the original of every row, and notes for the user."""
    columns = [name for name in PRODUCT if name in frame.columns]
    if not columns:
        raise DataError(
            f"{AUGMENT_LABEL} says how files were augmented, but does not name their originals",
            expected=f"a column {ORIGINAL_FILE}, or {', '.join(PRODUCT)}",
            remedy=f"Name each row's original file in a column {ORIGINAL_FILE}.",
        )
    names, name = combinations([TextColumn.of(frame[column]) for column in columns])
    products = TextColumn(name + 1, ["", *map(" / ".join, names)]).map(str)
    files: dict[str, set[str]] = {product: set() for product in products.found}
    whole = TextColumn.of(frame[AUGMENTATION]).has(lambda text: text in ("", ORIGINAL))
    for product, file in combinations(
        [products.select(whole), TextColumn.of(frame[PATH]).select(whole)]
    )[0]:
        files[product].add(file)
    # A name that is not a file still keeps the product in one split.
    original = {
        product: min(found) if len(found) == 1 else product for product, found in files.items()
    }
    unclear = sum(len(found) != 1 for found in files.values())
    note = f"the original of a file is the one labelled {ORIGINAL} of the same {', '.join(columns)}"
    if unclear:
        note += (
            f"; {unclear:,} of {len(files):,} products have none or several, and get no candidates"
        )
    return products.replace(original), note
