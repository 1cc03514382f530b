"""The same picture is found again however it was stored; other pictures are not taken for it."""

import cv2
import numpy as np
import pytest

from augrank.images.decode import decode
from augrank.images.look import Look
from tests.support.shapes import draw
from training.data import duplicates
from training.data.duplicates import duplicate_groups


def stored(image: np.ndarray, suffix: str = ".png", *options: int) -> np.ndarray:
    """Encode, and decode as training does."""
    data = cv2.imencode(suffix, image[..., ::-1], list(options))[1].tobytes()
    return decode(data, 96).pixels


def groups(*images: np.ndarray) -> list[int]:
    digests = [str(number) for number in range(len(images))]
    return duplicate_groups(digests, [Look.of(image) for image in images]).tolist()


@pytest.fixture
def image() -> np.ndarray:
    return draw(5, 256)


def test_another_encoding_or_size_is_the_same_picture(image):
    other = draw(6, 256)
    jpeg = stored(image, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 40)
    webp = stored(image, ".webp", cv2.IMWRITE_WEBP_QUALITY, 50)
    half = stored(cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA))
    assert groups(stored(image), stored(other), jpeg, webp, half) == [0, 1, 0, 0, 0]


def test_another_colour_is_another_picture(image):
    """Their hashes are equal: stock photos of one car in two colours."""
    swapped = image[..., [2, 0, 1]]
    one, other = Look.of(stored(image)), Look.of(stored(swapped))
    assert np.bitwise_count(one.hash ^ other.hash) <= 12
    assert groups(stored(image), stored(swapped)) == [0, 1]


def test_shapes_are_told_apart():
    images = [stored(draw(number, 256)) for number in range(40)]
    assert groups(*images) == list(range(40))


def test_a_chain_of_likeness_is_one_group(image):
    darker = [np.clip(image.astype(int) - 3 * step, 0, 255).astype(np.uint8) for step in range(4)]
    looks = [Look.of(stored(each)) for each in darker]
    assert duplicate_groups(list("abcd"), looks).tolist() == [0, 0, 0, 0]
    assert duplicate_groups(list("ad"), [looks[0], looks[-1]]).tolist() == [0, 1]


def test_the_same_bytes_are_one_group_whatever_they_look_like(image):
    looks = [Look.of(stored(draw(number, 256))) for number in range(3)]
    assert duplicate_groups(["a", "b", "a"], looks).tolist() == [0, 1, 0]


def test_thousands_of_blank_pictures_take_a_moment(monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_BUCKET", 50)
    white = Look.of(np.full((96, 96, 3), 255, np.uint8))
    digests = [str(number) for number in range(3000)]
    assert set(duplicate_groups(digests, [white] * 3000).tolist()) == {0}


def test_no_images():
    assert duplicate_groups([], []).tolist() == []
