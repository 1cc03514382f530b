"""Two files that show the same picture look alike, whatever their encoding."""

import cv2
import numpy as np
import pytest

from augrank.images.decode import decode, encode
from augrank.images.letterbox import smaller
from augrank.images.look import BANDS, LOOK_PX, MAX_DISTANCE, MOST_DIFFERENCE, Look
from simulation.render import render_image
from tests.support.labelled_images import draw_labelled

PHOTOS = 60


def encoded(image: np.ndarray, suffix: str, *options: int) -> np.ndarray:
    data = cv2.imencode(suffix, image[..., ::-1], list(options))[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1].copy()


@pytest.mark.parametrize("number", range(4))
def test_the_same_picture_is_known_in_another_encoding_and_size(number):
    image = cv2.resize(draw_labelled(number)[0], (200, 200), interpolation=cv2.INTER_CUBIC)
    look = Look.of(image)
    for other in (
        encoded(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 60),
        encoded(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, 70),
        cv2.resize(image, (100, 100), interpolation=cv2.INTER_AREA),
    ):
        assert look.same_picture(Look.of(other))
    stranger = Look.of(cv2.resize(draw_labelled(number + 1)[0], (200, 200)))
    assert not look.same_picture(stranger)


@pytest.mark.parametrize("shape", [(300, 300), (400, 600), (600, 400), (567, 1000), (999, 1000)])
@pytest.mark.parametrize("side", [64, 96, 128, 160, 224, 288])
def test_the_size_that_a_file_is_decoded_to_changes_little(side, shape):
    for number in range(6):
        image = cv2.resize(render_image("review", number, seed=4, size=300)[0], shape[::-1])
        data = encode(image)
        small, large = Look.of(decode(data, LOOK_PX).pixels), decode(data, side)
        look = Look.of(smaller(large.pixels, large.width, large.height, LOOK_PX))
        assert int(small.hash ^ look.hash).bit_count() <= MAX_DISTANCE // 2
        assert np.abs(small.thumbnail.astype(int) - look.thumbnail).max() <= MOST_DIFFERENCE
        assert small.same_picture(look)


@pytest.mark.parametrize("size", [64, 96, 160, 224])
def test_a_photo_is_known_as_png_and_jpeg_whatever_the_size_of_the_model(size):
    strangers = []
    for number, side in enumerate(np.linspace(150, 1200, 24).astype(int)):
        image = render_image(("review", "inventory")[number % 2], number, seed=9, size=400)[0]
        shape = (int(side), round(side * (0.5 + number % 6 / 10)))
        image = cv2.resize(image, shape, interpolation=cv2.INTER_CUBIC)
        small, large = decode(encode(image, "PNG"), LOOK_PX), decode(encode(image), size)
        look = Look.of(smaller(large.pixels, large.width, large.height, LOOK_PX))
        if not look.same_picture(Look.of(small.pixels)):
            strangers.append(shape)
    assert len(strangers) <= 1, strangers


def test_bands_hold_all_bits_once_and_one_more_than_may_differ():
    assert (BANDS[0], BANDS[-1]) == (0, 64)
    assert list(BANDS) == sorted(set(BANDS))
    assert len(BANDS) - 1 == MAX_DISTANCE + 1


def test_another_colour_is_another_picture():
    image = np.full((64, 64, 3), 200, np.uint8)
    image[20:44, 20:44] = (180, 30, 30)
    other = image.copy()
    other[20:44, 20:44] = (60, 90, 30)
    assert not Look.of(image).same_picture(Look.of(other))


def test_rendered_photos_are_known_in_other_encodings_and_are_told_apart():
    def half(image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)

    drawn = [render_image("inventory", n, seed=3, size=256) for n in range(PHOTOS)]
    photos = [image for image, _ in drawn]
    looks = [Look.of(decode(encode(image, "PNG"), 64).pixels) for image in photos]
    known = dict.fromkeys(("jpeg", "webp", "half"), 0)
    for image, look in zip(photos, looks, strict=True):
        copies = {
            "jpeg": cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 40])[1],
            "webp": cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 50])[1],
            "half": cv2.imencode(".jpg", half(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1],
        }
        for name, data in copies.items():
            known[name] += look.same_picture(Look.of(decode(data.tobytes(), 64).pixels))
    assert min(known.values()) >= PHOTOS - 2, known
    cars = [n for n, (_, row) in enumerate(drawn) if row["type"] != "placeholder"]
    joined = [(a, b) for a in cars for b in cars if a < b and looks[a].same_picture(looks[b])]
    assert joined == []
