"""What is right for each image file: its format and sides, and the picture that it shows."""

import io
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from augrank.errors import BrokenImage, ImageTooLarge, UnsupportedImage
from augrank.images.decode import decode
from augrank.images.formats import format_of

FOLDER = Path(__file__).parent / "images"
SIZE = 96
WIDE, TALL = (96, 64), (64, 96)

# Files that show the picture of plain.png: their format.
SAME = {
    "JPEG": """cmyk_adobe.jpg cmyk_noadobe.jpg exif_bias_m2_0_upright.jpg exif_empty.jpg
        exif_garbage.jpg exif_ori0.jpg exif_ori9.jpg exif_ori_ascii.jpg exif_truncated_ifd.jpg
        extra_data_before_eoi.jpg icc.jpg icc_junk.jpg mpo.jpg no_eoi.jpg plain.jpg progressive.jpg
        q444.jpg restart.jpg trailing.jpg xmp_ori6.jpg xmp_ori_text.jpg""",
    "PNG": """apng.png apng_default.png bad_ancillary_crc.png exif_bad.png iccp_bad.png
        iend_bad_crc.png iend_no_crc.png itxt_2mb.png no_iend.png plain.png trailing.png""",
    "AVIF": "avif_as.jpg",
    "BMP": "a.bmp",
    "GIF": "anim.gif",
    "HEIC": "exif6.heic real.heic",  # the first one is upright once turned
    "TIFF": "a.tif",
    "WEBP": "anim.webp",
}
# Files that show it turned by a quarter, as their EXIF says.
TURNED = {
    "JPEG": """exif6.jpg exif_bias_big.jpg exif_bias_m2_0.jpg exif_dup_header.jpg exif_ori_long.jpg
        exif_ori_rational.jpg exif_ori_two.jpg exif_rational_1_0.jpg exif_rational_zero.jpg
        exif_two_xres.jpg xmp_and_exif.jpg""",
    "PNG": "exif6.png",
}
# Files that show something else: format, sides, and mean of the pixels.
OTHER = {
    "10000x1.png": ("PNG", 10_000, 1, 254),
    "16384x1.png": ("PNG", 16_384, 1, 254),
    "1x1.jpg": ("JPEG", 1, 1, 108),
    "1x1.png": ("PNG", 1, 1, 108),
    "1x10000.jpg": ("JPEG", 1, 10_000, 254),
    "alpha.webp": ("WEBP", 96, 64, 218),
    "anim_alpha.webp": ("WEBP", 96, 64, 218),
    "arith_marker.jpg": ("JPEG", 96, 64, 174),  # not arithmetic, as its marker says
    "bilevel.png": ("PNG", 96, 64, 146),
    "gif_partial.gif": ("GIF", 200, 200, 74),
    "grey.jpg": ("JPEG", 96, 64, 146),
    "grey.png": ("PNG", 96, 64, 146),
    "grey16.png": ("PNG", 96, 64, 169),
    "grey16_trns.png": ("PNG", 8, 8, 255),  # every pixel is transparent
    "grey2bit.png": ("PNG", 8, 8, 127),
    "grey_trns.png": ("PNG", 8, 8, 255),
    "interlaced.png": ("PNG", 1, 1, 2),
    "la.png": ("PNG", 96, 64, 146),
    "la16.png": ("PNG", 8, 8, 128),
    "lying_7000.jpg": ("JPEG", 7000, 7000, 128),  # pixels are missing, the end marker is not
    "p_trans_bytes.png": ("PNG", 96, 64, 213),
    "p_trans_int.gif": ("GIF", 96, 64, 170),
    "pal2bit_trns.png": ("PNG", 8, 8, 130),
    "pal_short.png": ("PNG", 8, 8, 0),
    "rgb16.png": ("PNG", 8, 8, 149),
    "rgb_trns.png": ("PNG", 8, 8, 255),
    "rgba16.png": ("PNG", 8, 8, 202),
    "ycck_mark.jpg": ("JPEG", 96, 64, 187),
}
REFUSED = {
    "0x5.png": (BrokenImage, "the PNG file is damaged"),
    "20000x10.png": (ImageTooLarge, "16,384 per side, got 20000 x 10"),
    "a.ico": (UnsupportedImage, r"got ICO \(icon\)"),
    "a.ppm": (UnsupportedImage, "got PPM"),
    "bomb_header.jpg": (ImageTooLarge, "got 3,600,000,000 pixels"),
    "cut_90.jpg": (BrokenImage, "the JPEG file is damaged or truncated.*complete JPEG"),
    "cut_half.jpg": (BrokenImage, "the JPEG file is damaged or truncated"),
    "cut_half.png": (BrokenImage, "the PNG file is damaged or truncated"),
    "dnl_zero_height.jpg": (BrokenImage, "the JPEG file is damaged"),
    "empty.jpg": (UnsupportedImage, "got nothing"),
    "gif_header_only.gif": (BrokenImage, "the GIF file is damaged"),
    "heic_as.jpg": (BrokenImage, "the HEIC file is damaged"),
    "html_as.jpg": (UnsupportedImage, "got HTML"),
    "leading_newline.jpg": (UnsupportedImage, "got JPEG after 2 bytes of white space"),
    "pdf_as.jpg": (UnsupportedImage, "got PDF"),
    "svg_as.png": (UnsupportedImage, "got SVG"),
    "twelve_bit.jpg": (BrokenImage, "or of a rare kind"),
    "webm_as.gif": (UnsupportedImage, "got WebM or Matroska video"),
}


def by_format(table: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, kind) for kind, names in table.items() for name in names.split()]


def decoded(name: str):
    return decode((FOLDER / name).read_bytes(), SIZE)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def test_every_file_has_its_right_value():
    listed = {name for table in (SAME, TURNED) for name, _ in by_format(table)}
    assert {path.name for path in FOLDER.iterdir()} == listed | OTHER.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "file_format"), by_format(SAME))
def test_it_shows_the_picture(name, file_format):
    image, plain = decoded(name), decoded("plain.png")
    assert (image.format, image.width, image.height) == (file_format, *WIDE)
    assert difference(image.pixels, plain.pixels) < 3


@pytest.mark.parametrize(("name", "file_format"), by_format(TURNED))
def test_it_shows_the_picture_turned_as_its_exif_says(name, file_format):
    image, plain = decoded(name), decoded("plain.png")
    assert (image.format, image.width, image.height) == (file_format, *TALL)
    assert difference(np.rot90(image.pixels), plain.pixels) < 3


@pytest.mark.parametrize("name", OTHER)
def test_it_shows_another_picture(name):
    file_format, width, height, mean = OTHER[name]
    image = decoded(name)
    assert (image.format, image.width, image.height) == (file_format, width, height)
    assert image.pixels.mean() == pytest.approx(mean, abs=1)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_what_it_is(name):
    kind, message = REFUSED[name]
    with pytest.raises(kind) as caught:
        decoded(name)
    assert re.search(message, str(caught.value)), str(caught.value)


@pytest.mark.parametrize(
    ("image", "file_format", "options"),
    [
        ("noise", "JPEG", {}),
        ("noise", "JPEG", {"progressive": True}),
        ("noise", "JPEG", {"restart_marker_rows": 1}),
        ("noise", "JPEG", {"subsampling": 0}),
        ("flat", "JPEG", {"progressive": True, "restart_marker_rows": 1}),
        ("flat", "JPEG", {}),
        ("noise", "PNG", {}),
        ("flat", "PNG", {}),
    ],
)
def test_wherever_a_file_is_cut_it_is_refused_or_complete(image, file_format, options):
    pixels = {
        "noise": np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8),
        "flat": np.full((40, 40, 3), 200, np.uint8),
    }[image]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    data = buffer.getvalue()
    whole, accepted = decode(data, 40).pixels, 0
    for cut in range(1, len(data) - 20, 1 if len(data) < 2000 else 3):
        try:
            left = decode(data[:-cut], 40).pixels
        except (BrokenImage, UnsupportedImage):
            continue
        accepted += 1
        np.testing.assert_array_equal(left, whole)
    assert accepted >= 1


def test_a_png_with_damaged_pixels_is_refused():
    """Its metadata are read by loading it, which must not hide that it cannot be loaded."""
    pixels = np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = buffer.getvalue()
    place = data.index(b"IDAT") + 4
    for spot in range(place + 10, len(data) - 40, 997):
        damaged = bytearray(data)
        damaged[spot] ^= 0x55
        with pytest.raises(BrokenImage):
            decode(bytes(damaged), 90)
    size = int.from_bytes(data[place - 8 : place - 4], "big")
    half = data[place : place + size // 2]
    whole = data[: place - 8] + len(half).to_bytes(4, "big") + b"IDAT" + half
    crc = zlib.crc32(b"IDAT" + half).to_bytes(4, "big")
    with pytest.raises(BrokenImage):  # sound chunks, but half of the pixels
        decode(whole + crc + data[place + size + 4 :], 90)


def test_without_its_extra_heic_is_refused_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(UnsupportedImage, match=r"got HEIC\. Install.*'augrank\[heic\]'"):
        decoded("real.heic")


def test_files_that_are_odd_or_damaged_print_nothing(tmp_path):
    """Pillow and libtiff would print warnings that do not name the file."""
    script = (
        "import sys; from pathlib import Path; from augrank.images.decode import decode\n"
        "for name in sys.argv[1:]:\n"
        " try: decode(Path(name).read_bytes(), 64)\n"
        " except Exception: pass"
    )
    files = [FOLDER / f"exif_{name}.jpg" for name in ("two_xres", "truncated_ifd", "ori_two")]
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for compression in ("tiff_lzw", "tiff_deflate", "packbits"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "TIFF", compression=compression)
        damaged = bytearray(buffer.getvalue())
        damaged[5000:5050] = bytes(50)
        files.append(tmp_path / f"{compression}.tif")
        files[-1].write_bytes(damaged)
    command = [sys.executable, "-c", script, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1avif", "AVIF"),
        (b"\x00\x00\x00\x14ftypisom\x00\x00\x00\x00isom", "MP4 or MOV video"),
        (b"RIFF\x00\x00\x00\x00WAVE", "RIFF media file"),
        (b'<?xml version="1.0"?>\n<!-- made -->\n<svg xmlns="', "SVG"),
        (b'<?xml version="1.0"?><rss>', "XML"),
        (b"\n<!DOCTYPE HTML>", "HTML"),
        (b"<!-- proxy --><html>", "HTML"),
        (b"<center><h1>502 Bad Gateway</h1>", "HTML or XML"),
        (b"<rss version='2.0'>", "HTML or XML"),
        (b"{\\rtf1\\ansi", "RTF"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b'{"error": 1}', "JSON"),
        (b"/9j/4AAQSkZJRg", "JPEG in base64 text"),
        (b"\xef\xbb\xbf<svg>", "SVG"),
        (b"BM as text begins", None),
        (b"anything else", None),
        (b"", None),
    ],
)
def test_formats_are_recognised_by_their_first_bytes(data, name):
    assert format_of(data) == name
