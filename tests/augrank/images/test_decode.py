import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from augrank.errors import BrokenImage, ImageTooLarge, RequestError, UnsupportedImage
from augrank.images.decode import FORMATS, DecodeLimits, decode, read_image
from augrank.images.letterbox import letterbox
from simulation.render import render_image
from tests.support.image_files import png_bomb

RED, WHITE = (200, 30, 40), (255, 255, 255)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def solid(mode: str, size: tuple[int, int], colour) -> Image.Image:
    return Image.new(mode, size, colour)


def centre(data: bytes, size: int = 32) -> tuple[int, ...]:
    pixels = decode(data, size).pixels
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8
    return tuple(int(v) for v in pixels[size // 2, size // 2])


@pytest.mark.parametrize(
    ("image", "file_format", "expected"),
    [
        (solid("RGB", (64, 64), RED), "PNG", RED),
        (solid("RGB", (64, 64), RED), "JPEG", RED),
        (solid("RGB", (64, 64), RED), "WEBP", RED),
        (solid("L", (64, 64), 77), "PNG", (77, 77, 77)),
        (solid("L", (64, 64), 77), "JPEG", (77, 77, 77)),
        (solid("1", (64, 64), 1), "PNG", WHITE),
        (solid("RGBA", (64, 64), (200, 30, 40, 255)), "PNG", RED),
        (solid("RGBA", (64, 64), (200, 30, 40, 0)), "PNG", WHITE),
        (solid("LA", (64, 64), (0, 127)), "PNG", (128, 128, 128)),
        (solid("I;16", (64, 64), 65535), "PNG", WHITE),
        (solid("I;16", (64, 64), 257 * 77), "PNG", (77, 77, 77)),
        (solid("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", (254, 0, 0)),
    ],
)
def test_every_mode_becomes_rgb_on_white(image, file_format, expected):
    got = centre(encoded(image, file_format))
    assert np.abs(np.subtract(got, expected)).max() <= 3


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    image = solid("P", (64, 64), 0)
    image.putpalette([200, 30, 40] + [0, 0, 255] * 255)
    assert centre(encoded(image, "PNG")) == RED
    assert centre(encoded(image, "PNG", transparency=0)) == WHITE


def test_sixteen_bit_rgb_is_scaled_to_eight():
    deep = np.full((40, 40, 3), 257 * 77, np.uint16)
    _, data = cv2.imencode(".png", deep)
    assert centre(data.tobytes()) == (77, 77, 77)


def test_the_first_frame_of_an_animation_is_used():
    frames = [solid("RGB", (50, 50), RED), solid("RGB", (50, 50), (0, 0, 255))]
    for file_format in ("GIF", "WEBP", "TIFF", "AVIF"):
        data = encoded(frames[0], file_format, save_all=True, append_images=frames[1:])
        assert np.abs(np.subtract(centre(data), RED)).max() <= 6


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, file_format):
    upright = np.full((40, 80, 3), 255, np.uint8)
    upright[:20, :40] = RED  # a mark in the upper left corner
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)
    turned = Image.fromarray(upright)
    if back:
        method = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_270,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_90,
        }[back]
        turned = turned.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode(encoded(turned, file_format, exif=exif, quality=95), 80)
    assert (decoded.width, decoded.height) == (80, 40)
    assert np.abs(decoded.pixels[30, 20].astype(int) - RED).max() < 12
    assert decoded.pixels[50, 60].min() > 240


@pytest.mark.parametrize(
    ("sides", "size", "scaled"),
    [
        ((4000, 3000), 224, (500, 375)),
        ((512, 384), 224, (256, 192)),
        ((512, 383), 224, (256, 192)),
        ((683, 1024), 224, (171, 256)),
        ((510, 510), 224, (510, 510)),
        ((600, 600), 300, (300, 300)),
        ((512, 384), 32, (256, 192)),  # what it looks like needs as many
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_has_the_pixels(
    sides, size, scaled, monkeypatch
):
    shapes = []

    def on_square(image, inner, side):
        shapes.append(image.shape[1::-1])
        return letterbox(image, side)

    monkeypatch.setattr("augrank.images.decode.on_square", on_square)
    image = Image.effect_noise(sides, 60).convert("RGB")
    decoded = decode(encoded(image, "JPEG"), size)
    assert (decoded.width, decoded.height) == sides
    assert decoded.pixels.shape == (size, size, 3)
    assert shapes == [scaled]


@pytest.mark.parametrize("side", [512, 600, 900])
def test_a_jpeg_at_a_reduced_scale_is_nearly_the_picture(side):
    image = Image.fromarray(
        cv2.resize(render_image("review", 1, seed=5, size=side)[0], (side, side))
    )
    jpeg, png = (
        decode(encoded(image, file_format, quality=95), 224).pixels.astype(int)
        for file_format in ("JPEG", "PNG")
    )
    assert np.abs(jpeg - png).mean() < 2
    assert np.quantile(np.abs(jpeg - png), 0.99) < 12


@pytest.mark.parametrize(
    ("side", "method"), [(140, cv2.INTER_LINEAR), (141, cv2.INTER_AREA), (50, cv2.INTER_LINEAR)]
)
def test_images_are_interpolated_unless_they_shrink_much(side, method):
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    expected = cv2.resize(image, (100, 100), interpolation=method)
    assert np.array_equal(letterbox(image, 100), expected)


def test_letterbox_keeps_the_aspect_and_pads_with_white():
    boxed = letterbox(np.zeros((50, 100, 3), np.uint8), 40)
    assert boxed.shape == (40, 40, 3)
    assert (boxed[:10] == 255).all()
    assert (boxed[10:30] == 0).all()
    assert (boxed[30:] == 255).all()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_files_are_refused(file_format, kept):
    data = encoded(Image.effect_noise((200, 200), 80).convert("RGB"), file_format)
    with pytest.raises((BrokenImage, UnsupportedImage)) as caught:
        decode(data[: int(len(data) * kept)], 32)
    assert 400 <= caught.value.status < 500


def test_a_phones_multi_image_is_a_jpeg():
    frames = [Image.effect_noise((900, 700), 60).convert("RGB") for _ in range(2)]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    decoded = decode(data, 64)
    assert (decoded.format, decoded.width, decoded.height) == ("JPEG", 900, 700)


def test_a_decompression_bomb_is_refused_from_its_header():
    for side in (20_000, 60_000):
        with pytest.raises(ImageTooLarge, match="too many pixels"):
            decode(png_bomb(side, side), 32)


def test_limits_are_the_callers():
    data = encoded(solid("RGB", (64, 64), RED), "PNG")
    with pytest.raises(ImageTooLarge, match="4,096"):
        decode(data.ljust(5000, b"\0"), 32, DecodeLimits(size_bytes=4096))
    with pytest.raises(ImageTooLarge, match="64 x 64"):
        decode(data, 32, DecodeLimits(pixels=4095))


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.7", b"<svg></svg>"])
def test_files_that_are_not_images_are_unsupported(data):
    with pytest.raises(UnsupportedImage, match="expected a JPEG, PNG, WEBP, GIF"):
        decode(data, 32)


@settings(deadline=None)  # a busy machine takes its time
@given(
    st.binary(max_size=400),
    st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"]),
    st.data(),
)
def test_damage_gives_a_request_error_or_an_image(noise, file_format, data):
    """Any bytes give an image or a 4xx error, and no other exception."""
    whole = bytearray(encoded(solid("RGB", (24, 24), RED), file_format))
    place = data.draw(st.integers(0, len(whole)))
    whole[place : place + len(noise)] = noise
    try:
        shape = decode(bytes(whole), 32).pixels.shape
    except RequestError as error:
        shape = (32, 32, 3) if 400 <= error.status < 500 else ()
    assert shape == (32, 32, 3)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    limits, file = DecodeLimits(size_bytes=10), tmp_path / "a.png"
    file.write_bytes(b"0123456789")
    assert read_image(file, limits) == b"0123456789"
    file.write_bytes(b"0123456789a")
    with pytest.raises(ImageTooLarge, match="at most 10 bytes, got 11 bytes"):
        read_image(file, limits)
    with pytest.raises(ImageTooLarge):  # without a size, or an end
        read_image(Path("/dev/zero"), limits)
