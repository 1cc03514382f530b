"""Build a labelled set of real images, photos and cartoons, from Tux Paint's stamps.

    python -m examples.build_stamps --out build/stamps [--package FILE.deb]

Debian's package ``tuxpaint-stamps-default`` holds photos of things, cut out, and drawings of
things. The set is built from it and not kept in the repository: the package is under the GPL, and
some of its images are under other licences (column ``licence``). Without ``--package``, apt-get
downloads it. Drawings in SVG need ``rsvg-convert`` (Debian: ``librsvg2-bin``).

``manifest.csv`` has the labels of ``fit --task classify``:

- ``style``: ``cartoon`` where the file is an SVG, has an SVG beside it, lies in a folder
  ``cartoon`` or is one of `DRAWN`; otherwise ``photo``. Blank for `AMBIGUOUS`. All images were
  looked at on contact sheets.
- ``kind``: by folder (`KINDS`); blank where the folder is a theme, such as ``seasonal``.
- ``colour``: what most of the object's pixels have, or what the description says if many have it.
- ``original``: versions of a thing, so that they are in one split.
"""

import csv
import functools
import hashlib
import io
import re
import subprocess
import tempfile
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from augrank.cli.command import friendly_errors
from augrank.errors import DataError, reason
from augrank.files import atomic_write
from examples.build_catalogue import CANVAS, CatalogueError, frame

PACKAGE, VERSION = "tuxpaint-stamps-default", "2022.06.04-1"  # the version that was looked at
STAMPS = Path("usr/share/tuxpaint/stamps")
COLUMNS = (
    "relative_im_path",
    "style",
    "kind",
    "colour",
    "original",
    "licence",
    "licence_from",
    "source",
)
MIN_SIDE = 48  # pixels of an object's longer side; icons below it would only be blurred
LEAST = 15  # images of a kind
OPAQUE = 128  # alpha from which a pixel is of the object
CLEAR, NAMED = 0.7, 0.3  # share of the object that has its colour: without and with its name

# Globs on paths without the extension. Letters, signs and coins are not things, a white ghost is
# not seen on white, and pieces for other stamps mean nothing by themselves. The site of four
# photos, sxc.hu, does not allow passing them on.
LEFT_OUT = """
    symbols/* vehicles/emergency/sedan_police* seasonal/halloween/ghost
    food/fruit/grapes food/fruit/sliced_lime food/fruit/sliced_orange food/fruit/pineapple
"""
DRAWN = """
    animals/mammals/hedgehog clothes/button clothes/t_* food/pizza medical/tooth
    people/body_parts/eye seasonal/easter/* seasonal/hanukkah/* seasonal/halloween/[bs]*
    seasonal/newyears/* seasonal/christmas/[Sbhst]* seasonal/christmas/candy_cane town/flags/*
    town/monuments/inukshuk-outline
"""
# Silhouettes, light, rendered or retouched things, traced photos, and flat signs, of which a photo
# and a drawing look alike.
AMBIGUOUS = """
    animals/mammals/echidna animals/mammals/equines/zebra2 food/dessert/smallcake
    household/arttools/highlighter household/dishes/glass household/key naturalforces/lightningbolt
    seasonal/christmas/lamp seasonal/newyears/fireworks* space/planets/0_sun town/roadsigns/*
    vehicles/7spoke256 vehicles/ship/chineseJunk vehicles/ship/walnutBoat
"""
KINDS = {
    "animals": "animal",
    "clothes": "clothes",
    "food": "food",
    "hobbies": "leisure",
    "household": "household",
    "military/vehicles": "vehicle",
    "people": "people",
    "plants": "plant",
    "space": "space",
    "sports": "leisure",
    "town/cartoon": "building",
    "town/houses": "building",
    "town/monuments": "building",
    "town/roadsigns": "sign",
    "vehicles": "vehicle",
}

# From debian/copyright for all files, from the package's changelog for some, from metadata of SVGs.
PACKAGE_LICENCE = "GPL-2.0-or-later"
CHANGELOG_LICENCES = {
    "Public domain": """
        animals/fish/lobster animals/fish/seahorse animals/fish/shrimp medical/stethoscope
        seasonal/christmas/Candy_cane_photo_* seasonal/christmas/Christmas_Tree_photo
        town/cartoon/* town/monuments/cartoon/[!e]*
        town/houses/cartoon/blacksmith town/houses/cartoon/ca* town/houses/cartoon/circus
        town/houses/cartoon/city town/houses/cartoon/farm town/houses/cartoon/f[io]*
        town/houses/cartoon/hunter town/houses/cartoon/inn town/houses/cartoon/jailhouse
        town/houses/cartoon/m* town/houses/cartoon/stables town/houses/cartoon/tavern
        town/houses/cartoon/tent town/houses/cartoon/to* town/houses/cartoon/university
        town/houses/cartoon/wa* town/houses/cartoon/windmill
    """,
    "CC-BY-2.0": "seasonal/christmas/Roast_turkey",
    "CC-BY-2.5": "seasonal/christmas/Mince_Pie vehicles/emergency/firetruck",
    "CC-BY-SA": "seasonal/christmas/German_Christmas_toy",
    "CC-BY-SA-2.5": """
        animals/birds/heron_greatblue* animals/birds/pelican town/monuments/inukshuk-photo
    """,
    "CC-BY-SA-3.0": """
        plants/flowers/adeenia plants/flowers/anthoorium plants/flowers/appooppanthady
        plants/flowers/bolsom plants/flowers/chemparathi plants/flowers/plastic/*
    """,
    "GFDL": """
        animals/birds/helmeted_guineafowl animals/insects/Woodlouse food/fruit/Apricot_whole
        food/fruit/Cherry_Stella food/fruit/Strawberry2 household/Lightbulb
        seasonal/christmas/Christmas_pudding
    """,
    "GFDL or CC-BY-SA-2.5": "animals/insects/Brown_slug",
}
SVG_LICENCES = (  # in the value of <license rdf:resource="...">
    ("public ?domain", "Public domain"),
    (r"licenses/by/3\.0", "CC-BY-3.0"),
    (r"licenses/GPL/2\.0", "GPL-2.0"),
)
COLOURS = (
    *("black", "white", "grey", "red", "orange", "brown"),
    *("yellow", "green", "blue", "purple", "pink"),
)
# Words of file names that tell one version of a thing from another.
VERSIONS = """
    and baby closed core crescent drawing eating flying front full gimmel golden hay in large
    left little mean mirror new nun old open out outline photo profile qt right shin side sitting
    small stand whole black white grey red brown yellow green blue purple pink
"""

Row = dict[str, str]


@friendly_errors
def main(
    out: Annotated[Path, typer.Option(help="Folder for images/ and manifest.csv.")],
    package: Annotated[
        Path | None, typer.Option(help=f"File or unpacked folder of {PACKAGE}.")
    ] = None,
) -> None:
    """Build the set and print how many images each class has."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        rows = build(unpack(package, Path(scratch)), out)
    typer.echo(f"{len(rows)} images of {len({row['original'] for row in rows})} originals")
    for column in ("style", "kind", "colour", "licence"):
        counts = Counter(row[column] or "(blank)" for row in rows)
        typer.echo(f"{column}: " + ", ".join(f"{k} {n}" for k, n in counts.most_common()))


def unpack(package: Path | None, scratch: Path) -> Path:
    """Return the unpacked folder of the package, which is downloaded where none is named."""
    if package is not None and package.is_dir():
        return package
    if package is None:
        _run(["apt-get", "download", PACKAGE], scratch)
        package = next(scratch.glob("*.deb"))
    elif not package.is_file():
        remedy = "Name a file or a folder, or leave --package out"
        raise DataError("no package", expected="a file", got=str(package), remedy=remedy)
    version = _run(["dpkg-deb", "--field", str(package.resolve()), "Version"]).decode().strip()
    if version != VERSION:
        typer.echo(f"{PACKAGE} {version}: labels and licences were checked for {VERSION}", err=True)
    _run(["dpkg-deb", "--extract", str(package.resolve()), str(scratch / "unpacked")])
    return scratch / "unpacked"


def build(package: Path, out: Path, least: int = LEAST) -> list[Row]:
    """Draw the images, write the manifest and return its rows.

    Args:
        package: folder of the unpacked package.
        out: folder for images and manifest.
        least: number of images below which a kind is left blank.

    Raises:
        DataError: if the folder holds no stamps, or a tool is missing.
    """
    root = package / STAMPS
    found = sorted(p for p in root.rglob("*") if p.suffix in {".png", ".svg"})
    if not found:
        remedy = f"Unpack {PACKAGE}, or leave --package out"
        raise DataError("no stamps", expected=str(STAMPS), got=str(package), remedy=remedy)
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    seen: set[str] = set()
    for source in found:
        drawn = draw(source, root)
        if drawn is None or (digest := hashlib.sha256(drawn.tobytes()).hexdigest()) in seen:
            continue
        seen.add(digest)
        row = describe(source, root)
        drawn.save(out / row["relative_im_path"], "PNG")
        rows.append(row)
    kinds = Counter(row["kind"] for row in rows)
    for row in rows:
        row["kind"] = row["kind"] if kinds[row["kind"]] >= least else ""
    with (
        atomic_write(out / "manifest.csv") as part,
        part.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def draw(source: Path, root: Path) -> Image.Image | None:
    """Draw a stamp on white; None if it is left out, too small, or nothing of it is seen."""
    twin = source.suffix == ".svg" and source.with_suffix(".png").exists()
    if twin or _matches(_key(source, root), LEFT_OUT):
        return None
    stamp = read_stamp(source)
    box = stamp.getbbox(alpha_only=True)
    if box is None or max(box[2] - box[0], box[3] - box[1]) < MIN_SIDE:
        return None
    flat = Image.new("RGBA", stamp.size, "white")
    flat.alpha_composite(stamp)
    try:
        return frame(flat.convert("RGB"))
    except CatalogueError:  # white on white
        return None


@functools.lru_cache(maxsize=1)
def read_stamp(source: Path) -> Image.Image:
    """Read a PNG, or draw an SVG at the size of the canvas; RGBA."""
    if source.suffix == ".png":
        with Image.open(source) as opened:
            return opened.convert("RGBA")
    size = str(CANVAS)
    drawing = _run(["rsvg-convert", "-a", "-w", size, "-h", size, str(source)])
    return Image.open(io.BytesIO(drawing)).convert("RGBA")


def describe(source: Path, root: Path) -> Row:
    """Return the manifest's row of a stamp."""
    key = _key(source, root)
    licence, licence_from = licence_of(source, root)
    return {
        "relative_im_path": f"images/{key.replace('/', '__')}.png",
        "style": style_of(source, root),
        "kind": next((KINDS[f] for f in KINDS if key.startswith(f"{f}/")), ""),
        "colour": colour_of(read_stamp(source), _words(source)),
        "original": original_of(source.stem),
        "licence": licence,
        "licence_from": licence_from,
        "source": source.relative_to(root).as_posix(),
    }


def style_of(source: Path, root: Path) -> str:
    """Return ``photo``, ``cartoon``, or blank where it cannot be told for certain."""
    key = _key(source, root)
    if _matches(key, AMBIGUOUS):
        return ""
    drawn = source.with_suffix(".svg").exists() or "cartoon" in source.relative_to(root).parts
    return "cartoon" if drawn or _matches(key, DRAWN) else "photo"


def licence_of(source: Path, root: Path) -> tuple[str, str]:
    """Return the licence of a stamp, and which document of the package names it."""
    for licence, globs in CHANGELOG_LICENCES.items():
        if _matches(_key(source, root), globs):
            return licence, "changelog"
    vector = source.with_suffix(".svg")
    if vector.exists():
        text = vector.read_text(encoding="utf-8", errors="replace")
        for value in re.findall(r'<(?:cc:)?[Ll]icense[^>]*resource="([^"]*)"', text):
            for pattern, licence in SVG_LICENCES:
                if re.search(pattern, value, re.IGNORECASE):
                    return licence, "SVG metadata"
    return PACKAGE_LICENCE, "debian/copyright"


def original_of(stem: str) -> str:
    """Return what versions of a thing share: the file name without numbers, colours and versions.

    ``guitar2``, ``blue_guitar`` and ``guitar_mirror`` are all ``guitar``.
    """
    words = re.split(r"[^a-z0-9]+", stem.lower())
    words = [re.sub(r"^\d+|\d+[a-z]?$", "", word) for word in words]
    prefix = "^(?:{}|checkered)(?=hat|jeans|flag|lettuce|pepper)".format("|".join(COLOURS))
    words = [re.sub(prefix, "", word) for word in words]
    kept = [word for word in words if len(word) > 1 and word not in VERSIONS.split()]
    return "-".join(kept) or stem.lower()


def colour_of(stamp: Image.Image, words: set[str]) -> str:
    """Return the colour of a stamp, or blank where it is not clear.

    Args:
        stamp: RGBA; what is transparent does not count.
        words: of the description; one colour among them is taken if enough pixels have it.
    """
    pixels = np.asarray(stamp)
    mask = pixels[..., 3] >= OPAQUE
    if not mask.any():
        return ""
    hsv = np.asarray(stamp.convert("RGB").convert("HSV"))[mask].astype(float)
    share = np.bincount(_colour_numbers(hsv), minlength=len(COLOURS)) / len(hsv)
    named = [colour for colour in COLOURS if colour in words]
    if len(named) == 1 and share[COLOURS.index(named[0])] >= NAMED:
        return named[0]
    return COLOURS[int(share.argmax())] if not named and share.max() >= CLEAR else ""


def _colour_numbers(hsv: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number in COLOURS of each pixel (P, 3), all channels 0..255."""
    hue, saturation, value = hsv[:, 0] * 360 / 255, hsv[:, 1] / 255, hsv[:, 2] / 255
    neutral = saturation < 0.15
    conditions = {
        "black": (value < 0.2) | (neutral & (value < 0.3)),
        "white": neutral & (value > 0.85),
        "grey": neutral,
        "brown": (hue >= 10) & (hue < 45) & (value < 0.75),
        "pink": ((hue >= 300) & (hue < 345)) | (((hue < 15) | (hue >= 345)) & (saturation < 0.5)),
        "red": (hue < 15) | (hue >= 345),
        "orange": hue < 42,
        "yellow": hue < 68,
        "green": hue < 165,
        "blue": hue < 255,
        "purple": hue < 300,
    }
    numbers = [COLOURS.index(name) for name in conditions]
    return np.select(list(conditions.values()), numbers).astype(np.int64)


def _words(source: Path) -> set[str]:
    """Return the words of the file name and of the English description beside the stamp."""
    text, described = source.stem, source.with_suffix(".txt")
    if described.exists():
        text += " " + described.read_text(encoding="utf-8").split("\n", 1)[0]
    return set(re.findall(r"[a-z]+", text.lower()))


def _key(source: Path, root: Path) -> str:
    return source.relative_to(root).with_suffix("").as_posix()


def _matches(key: str, globs: str) -> bool:
    return any(fnmatchcase(key, glob) for glob in globs.split())


def _run(command: list[str], folder: Path | None = None) -> bytes:
    """Run a tool and return what it prints."""
    try:
        return subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
    except FileNotFoundError:
        remedy = "On Debian: apt-get install librsvg2-bin dpkg"
        raise DataError("no such tool", expected=command[0], remedy=remedy) from None
    except subprocess.CalledProcessError as error:
        got = error.stderr.decode(errors="replace").strip() or reason(error)
        raise DataError(f"{command[0]} failed", got=got, remedy="Check the file") from error


if __name__ == "__main__":
    typer.run(main)
