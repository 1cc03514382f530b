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

    Hidden files and folders are left out: unfinished downloads, and what macOS adds (``._a.jpg``).
    """
    found: list[str] = []
    passed_over: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(root)  # noqa: PTH116 - of the folder that a link leads to
        key = status.st_dev, status.st_ino
        if key in seen:  # a link leads back
            folders.clear()
            continue
        seen.add(key)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            file = Path(root, name)
            if name.startswith(".") or not file.is_file():
                continue
            suffix = file.suffix.lower()
            if suffix in IMAGE_SUFFIXES and _is_text(name):
                found.append(file.relative_to(folder).as_posix())
            else:
                passed_over[suffix] += 1
    return ImageFolder(tuple(sorted(found)), passed_over)


def _is_text(name: str) -> bool:
    """Return whether a file's name is UTF-8; others cannot be written to a manifest."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
