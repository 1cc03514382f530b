"""The text of a manifest's cells, from text files and from Parquet."""

import unicodedata

MAX_CELL = 131_072  # characters; Python's csv module has the same limit


def clean_name(text: str) -> str:
    """Return the name of a column as tables have it: stripped, and in Unicode's form NFC."""
    return _clean(text)[0]


class CellCodes(dict[str, int]):
    """Numbers cells by what they are when cleaned: stripped, and in Unicode's form NFC.

    Equal cells are cleaned once. A cell that cannot be used becomes ``""``, which has the number 0.

    Attributes:
        texts: the distinct cleaned texts, in the order of their numbers.
        broken: why cells cannot be used, by cell as it was.
    """

    def __init__(self) -> None:
        super().__init__({"": 0})
        self.texts = [""]
        self.broken: dict[str, str] = {}

    def __missing__(self, text: str) -> int:
        clean, why = _clean(text)
        if why:
            self.broken[text] = why
        code = self.get(clean)
        if code is None:
            code = self[clean] = len(self.texts)
            self.texts.append(clean)
        self[text] = code
        return code


def _clean(text: str) -> tuple[str, str]:
    """Return the cleaned text, and why a cell cannot be used, or ``""``."""
    if len(text) > MAX_CELL:
        return "", f"a cell has {len(text):,} characters, more than {MAX_CELL:,}"
    if "\0" in text:
        return "", "a cell has a NUL character: the row is damaged"
    clean = text.strip()
    return (clean if clean.isascii() else unicodedata.normalize("NFC", clean)), ""
