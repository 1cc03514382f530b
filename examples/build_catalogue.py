"""Rebuild the example catalogue of clip-art images from Debian's openclipart-png.

The catalogue's ``manifest.csv`` is both the curated selection and the manifest: this script
reads which image of the package becomes which file of the catalogue, draws that file, and rewrites
the manifest with metadata of the images (author, licence, sha256).

    python examples/build_catalogue.py --source UNPACKED_PACKAGE --out examples/catalogue
    python examples/build_catalogue.py --check --out examples/catalogue
"""

import contextlib
import csv
import hashlib
import io
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image, ImageColor

CANVAS = 256  # Side of every image of the catalogue, in pixels.
FILL = 0.88  # Share of the canvas that the longer side of the object fills.
WHITE_SLACK = 12  # A pixel this close to white (0-255) counts as background.
CLEAR_SLACK = 10  # A pixel this close to the colour in `background` is made white.
COLOURS = 256  # Size of the palette an image is saved with.
MAX_FILE_BYTES = 200_000
LICENCE = "Public domain"
COLUMNS = (
    "relative_im_path",
    "name",
    "class_name",
    "kind",
    "product_type",
    "year",
    "author",
    "source",
    "background",
    "licence",
    "sha256",
)
CURATED = ("relative_im_path", "name", "class_name", "kind", "product_type", "source")

Row = dict[str, str]


class CatalogueError(Exception):
    """The selection, the package or the catalogue is not valid."""


def read_manifest(path: Path) -> list[Row]:
    """Read the selection and check that every curated cell is filled and paths are unique.

    Args:
        path: The ``manifest.csv`` to read.

    Returns:
        One dictionary per image, in the order of the file, with every column of `COLUMNS`.

    Raises:
        CatalogueError: If the file is missing, has no rows, or a row is not usable.
    """
    if not path.is_file():
        raise CatalogueError(f"there is no selection at {path}")
    with path.open(encoding="utf-8", newline="") as handle:
        reader = csv.DictReader(handle)
        missing = [column for column in CURATED if column not in (reader.fieldnames or ())]
        if missing:
            raise CatalogueError(f"{path} lacks the columns {', '.join(missing)}")
        rows = [{column: (line.get(column) or "") for column in COLUMNS} for line in reader]
    if not rows:
        raise CatalogueError(f"{path} has no rows")
    seen: set[str] = set()
    for number, row in enumerate(rows, start=2):
        empty = [column for column in CURATED if not row[column]]
        if empty:
            raise CatalogueError(f"{path}, row {number}: no {', '.join(empty)}")
        for column in ("relative_im_path", "source"):
            if Path(row[column]).is_absolute() or ".." in Path(row[column]).parts:
                raise CatalogueError(f"{path}, row {number}: {column} leaves its folder")
            if row[column] in seen:
                raise CatalogueError(f"{path}, row {number}: {row[column]} occurs twice")
            seen.add(row[column])
    return rows


def write_manifest(path: Path, rows: list[Row]) -> None:
    """Write the manifest with the columns of `COLUMNS` and Unix line ends."""
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def clean_author(text: str) -> str:
    """Normalise an embedded author's name: no mail address, no web prefix, right encoding."""
    with contextlib.suppress(UnicodeError):  # Raised if it is not UTF-8 read as Latin-1.
        text = text.encode("latin-1").decode("utf-8")
    text = re.sub(r"\s*\(?\S+@\S+\)?", "", text)
    text = re.sub(r"^https?://(www\.)?", "", text)
    return " ".join(text.split()) or "unknown"


def clear_background(image: Image.Image, colour: str) -> Image.Image:
    """Make the pixels of one flat backdrop colour white."""
    pixels = np.asarray(image).copy()
    backdrop = np.array(ImageColor.getrgb(colour), dtype=int)
    pixels[(abs(pixels.astype(int) - backdrop) <= CLEAR_SLACK).all(axis=2)] = 255
    return Image.fromarray(pixels)


def frame(image: Image.Image) -> Image.Image:
    """Crop to the object and centre it on the white canvas.

    Args:
        image: An RGB image of an object on white.

    Returns:
        The `CANVAS` x `CANVAS` image; the longer side of the object fills `FILL` of it.

    Raises:
        CatalogueError: If the image is entirely white.
    """
    inked = 255 - np.asarray(image).min(axis=2) > WHITE_SLACK
    rows, columns = np.flatnonzero(inked.any(axis=1)), np.flatnonzero(inked.any(axis=0))
    if not rows.size:
        raise CatalogueError("the image is empty")
    box = (int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
    scale = CANVAS * FILL / max(box[2] - box[0], box[3] - box[1])
    width = max(1, round((box[2] - box[0]) * scale))
    height = max(1, round((box[3] - box[1]) * scale))
    small = image.crop(box).resize((width, height), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (CANVAS, CANVAS), "white")
    canvas.paste(small, ((CANVAS - width) // 2, (CANVAS - height) // 2))
    return canvas


def encode(image: Image.Image) -> bytes:
    """Return the image as an optimised palette PNG on pure white."""
    reduced = image.quantize(COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = np.array(reduced.getpalette(), dtype=np.uint8).reshape(-1, 3)
    palette[int(np.asarray(reduced)[0, 0])] = 255  # The corner is background.
    reduced.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def build_image(source: Path, background: str) -> tuple[bytes, str]:
    """Draw one image of the catalogue.

    Args:
        source: The image of the package.
        background: A flat backdrop colour to make white, or an empty string.

    Returns:
        The bytes of the PNG, and the author that the source names.

    Raises:
        CatalogueError: If the source is missing or cannot be read.
    """
    if not source.is_file():
        raise CatalogueError("no such file in the unpacked package")
    try:
        with Image.open(source) as opened:
            author = clean_author(str(opened.info.get("Author", "")))
            drawn = opened.convert("RGBA")
    except OSError as error:
        raise CatalogueError(f"cannot be read as an image ({error})") from error
    flat = Image.new("RGBA", drawn.size, "white")
    flat.alpha_composite(drawn)
    image = flat.convert("RGB")
    if background:
        image = clear_background(image, background)
    return encode(frame(image)), author


def build(source: Path | None, out: Path) -> int:
    """Draw every image of the selection, write the manifest and return the number of images."""
    if source is None or not source.is_dir():
        raise CatalogueError("--source must name the folder of the unpacked package")
    manifest = out / "manifest.csv"
    rows = read_manifest(manifest)
    for row in rows:
        try:
            data, row["author"] = build_image(source / row["source"], row["background"])
        except CatalogueError as error:
            raise CatalogueError(f"{row['source']}: {error}") from error
        row["licence"], row["sha256"] = LICENCE, hashlib.sha256(data).hexdigest()
        target = out / row["relative_im_path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    write_manifest(manifest, rows)
    return len(rows)


def check(out: Path) -> int:
    """Check the files of the catalogue against its manifest and return their number."""
    rows = read_manifest(out / "manifest.csv")
    for row in rows:
        path = out / row["relative_im_path"]
        if not path.is_file():
            raise CatalogueError(f"{path} is missing")
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            raise CatalogueError(f"{path} is not the file that the manifest describes")
        if len(data) > MAX_FILE_BYTES:
            raise CatalogueError(f"{path} has {len(data)} bytes, more than {MAX_FILE_BYTES}")
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
        if pixels.shape != (CANVAS, CANVAS, 3) or (corners < 255).any():
            raise CatalogueError(f"{path} is not {CANVAS} x {CANVAS} with white corners")
    listed = {row["relative_im_path"] for row in rows}
    extra = [p for p in sorted(out.glob("images/*")) if p.relative_to(out).as_posix() not in listed]
    if extra:
        raise CatalogueError(f"{extra[0]} is not in the manifest")
    return len(rows)


def main(
    out: Annotated[Path, typer.Option(help="Folder of the catalogue, with manifest.csv.")],
    source: Annotated[
        Path | None, typer.Option(help="Folder of the unpacked openclipart-png.")
    ] = None,
    check_only: Annotated[
        bool, typer.Option("--check", help="Only check the files against the manifest.")
    ] = False,
) -> None:
    """Rebuild the example catalogue, or only check it."""
    try:
        if not check_only:
            build(source, out)
        typer.echo(f"{check(out)} images match the manifest")
    except CatalogueError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    typer.run(main)
