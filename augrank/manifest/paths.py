"""The files that a manifest names: their paths, and why they cannot be used."""

import os
import posixpath
import re
import unicodedata
from functools import cache
from pathlib import Path

import pandas as pd

from augrank.contracts.manifest import PATH
from augrank.manifest.problems import Problems, quoted
from augrank.manifest.text_column import TextColumn

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def check_paths(column: "pd.Series[str]", images: Path, problems: Problems) -> TextColumn:
    """Return the paths of images, as the file system spells them; mark rows without one.

    Args:
        column: (N,) paths as a manifest gives them.
        images: the folder that they are relative to.
        problems: receives the reasons.

    Returns:
        (N,) paths relative to the folder, with /; rows that are bad have any.
    """
    cells, find = TextColumn.of(column), _Finder(images)
    found = {path: find(path) for path in cells.texts}
    problems.add_each(cells.codes, [found[path][1] for path in cells.texts])
    return cells.map(lambda path: found[path][0])


class _Finder:
    """Finds the files of one folder."""

    def __init__(self, images: Path) -> None:
        self._images = images
        self._names = cache(_names_in)

    def __call__(self, path: str) -> tuple[str, str | None]:
        """Return a path as the file system spells it, and why it cannot be used."""
        if not path:
            return path, f"{PATH} is blank"
        clean = posixpath.normpath(path)
        if why := self._refused(path, clean):
            return clean, why
        for form in (clean, *(unicodedata.normalize(form, clean) for form in ("NFC", "NFD"))):
            try:
                if (self._images / form).is_file():
                    return form, None
            except OSError as error:  # such as: its name is too long
                return clean, f"{PATH} {quoted(path)}: {error.strerror}"
        return clean, self._missing(path, clean)

    def _refused(self, path: str, clean: str) -> str | None:
        """Return why a path is refused without a look at the file system."""
        shown = quoted(path)
        if path[:5].lower() == "data:":
            return f"{PATH} {shown} holds the image itself: write it to a file, and give its path"
        if _URL.match(path):
            return f"{PATH} {shown} is a URL: python -m training download gets the images"
        if posixpath.isabs(clean) or _DRIVE.match(path):
            if inside := self._relative(clean):
                return f"{PATH} {shown} is an absolute path: give {inside!r}"
            why = "is an absolute path, outside the images folder"
            return f"{PATH} {shown} {why}: give it relative to {self._images}"
        if clean.split("/")[0] == "..":
            return f"{PATH} {shown} is outside the images folder {self._images}"
        return None

    def _relative(self, path: str) -> str | None:
        """Return an absolute path relative to the folder, if it is inside."""
        folder = self._images.resolve().as_posix().rstrip("/") + "/"
        return path.removeprefix(folder) if path.startswith(folder) else None

    def _missing(self, path: str, clean: str) -> str:
        shown = quoted(path)
        if "\\" in path:
            return f"there is no file {shown}: folders are separated by /, not by \\"
        if (self._images / clean).is_dir():
            return f"{PATH} {shown} is a folder"
        alike = self._alike(clean)
        hint = f": there is {alike!r}" if alike else ""
        return f"there is no file {shown} in {self._images}{hint}"

    def _alike(self, path: str) -> str | None:
        """Return the file whose path differs only in case, if there is one."""
        folder, parts = "", path.split("/")
        for part in parts:
            names = self._names(os.path.join(self._images, folder))  # noqa: PTH118 - a cache's key
            name = names.get(_plain(part))
            if name is None:
                return None
            folder = posixpath.join(folder, name)
        return folder


def _names_in(folder: str) -> dict[str, str]:
    """Return the names in a folder, by their form without case."""
    try:
        return {_plain(name): name for name in sorted(os.listdir(folder))}  # noqa: PTH208
    except OSError:
        return {}


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
