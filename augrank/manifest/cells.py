"""The text of a manifest's cells, from text files and from Parquet."""

import unicodedata

MAX_CELL = 131_072  # characters; Python's csv module has the same limit


class CleanText(dict[str, str]):
    """Cleans cells: stripped, and in Unicode's form NFC. Equal cells are cleaned once.

    A cell that cannot be used becomes ``""``, and its reason is in ``broken``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.broken: dict[str, str] = {}  # reasons, by cell as it was

    def __missing__(self, text: str) -> str:
        clean = text.strip()
        if not clean.isascii():
            clean = unicodedata.normalize("NFC", clean)
        if len(text) > MAX_CELL:
            self.broken[text] = f"a cell has {len(text):,} characters, more than {MAX_CELL:,}"
            clean = ""
        elif "\0" in text:
            self.broken[text] = "a cell has a NUL character: the row is damaged"
            clean = ""
        self[text] = clean
        return clean
