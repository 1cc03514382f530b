"""Image files in folders."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Suffixes of image files, in lower case. Their content decides how they are decoded.
IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".gif",
    ".avif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
)


_NOT_TEXT = "folders whose names are not UTF-8"


@dataclass(frozen=True)
class ImageFolder:
    """The image files below a folder."""

    files: tuple[str, ...]  # relative to the folder, with /, sorted
    passed_over: Mapping[str, int]  # number of other files, by suffix

    @property
    def note(self) -> str | None:
        """A sentence about the files that were passed over, if there are any."""
        if not self.passed_over:
            return None
        kinds = sorted(self.passed_over.items(), key=lambda each: (-each[1], each[0]))
        listed = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in kinds)
        return f"passed over {listed}"


def image_files(folder: Path) -> ImageFolder:
    """List the image files below a folder; links to folders are followed, each folder once.

    A folder that is below this one itself is listed there, not under a link to it. Hidden files and
    folders are left out: unfinished downloads, and what macOS adds (``._a.jpg``).
    """
    found: list[str] = []
    passed_over: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    folders, links = [folder], list[Path]()
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        try:
            status = current.stat()
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except OSError:  # it may not be read
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not _is_text(entry.name):
                passed_over[_NOT_TEXT] += 1
                continue
            path = Path(entry.path)
            if entry.is_dir():  # the listing knows; path.is_dir() would ask again
                (links if entry.is_symlink() else folders).append(path)
            elif entry.is_file() and _is_image(entry.name):
                found.append(path.relative_to(folder).as_posix())
            elif entry.is_file():
                passed_over[path.suffix.lower()] += 1
    return ImageFolder(tuple(sorted(found)), passed_over)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES and _is_text(name)


def _is_text(name: str) -> bool:
    """Return whether a file's name is UTF-8; others cannot be written to a manifest."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
