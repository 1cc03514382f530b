"""Colours that are measured in CIELAB, without a network."""

import cv2
import numpy as np
import pytest

from benchmarks.labels.colour_difference import ciede2000
from benchmarks.labels.foreground_colour import (
    colour_baseline,
    colour_features,
    dominant_colour,
    foreground,
)

CLASSES = ("blue", "green", "grey", "red")
PAINTS = ((40, 60, 190), (40, 140, 60), (120, 120, 120), (200, 30, 36))
BLUISH = (0.7, 0.9, 1.25)

# Table 1 of Sharma, Wu and Dalal (2005): Lab, Lab, difference. They cover hues around 0 and 360
# degrees, hues on opposite sides, greys, the rotation of blues, and large and dark differences.
PUBLISHED = (
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (61, -5, 29), 22.8977),
    ((50, 2.5, 0), (56, -27, -3), 31.9030),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
)


def disc(
    paint: tuple[int, int, int], gains: tuple[float, float, float] = (1, 1, 1), seed: int = 0
) -> np.ndarray:
    """Draw a disc with a dark tyre-like ring on a grey ground, in coloured light."""
    rng = np.random.default_rng(seed)
    image = np.full((96, 96, 3), 150, np.uint8)
    centre = (int(rng.integers(44, 53)), int(rng.integers(56, 63)))
    cv2.circle(image, centre, 20, (25, 25, 25), -1)
    cv2.circle(image, centre, 17, paint, -1)
    lit = image * np.array(gains) + rng.normal(0, 3, image.shape)
    return np.clip(lit, 0, 255).astype(np.uint8)


def train_set() -> tuple[np.ndarray, np.ndarray]:
    """Draw each class in ten neutral to warm lights."""
    lights = [(1.0 + 0.02 * i, 1.0, 1.0 - 0.03 * i) for i in range(10)]
    images = [disc(p, light, i) for p in PAINTS for i, light in enumerate(lights)]
    return np.stack(images), np.repeat(np.arange(len(PAINTS)), len(lights))


@pytest.mark.parametrize(("first", "second", "difference"), PUBLISHED)
def test_ciede2000_is_as_published(first, second, difference):
    one, two = np.array(first, float), np.array(second, float)
    assert ciede2000(one, two) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(two, one) == pytest.approx(difference, abs=5e-5)


def test_ciede2000_broadcasts_and_is_zero_for_equal_colours():
    colours = np.array([[50.0, 20, -30], [10, 0, 0], [90, -5, 70]])
    table = ciede2000(colours[:, None], colours)
    assert table.shape == (3, 3)
    np.testing.assert_array_equal(np.diag(table), 0)
    assert (table[~np.eye(3, dtype=bool)] > 10).all()


@pytest.mark.parametrize("method", ["regression", "reference"])
def test_discs_are_told_in_a_light_that_training_never_saw(method):
    test = np.stack([disc(paint, BLUISH, seed=50) for paint in PAINTS])
    probability = colour_baseline(*train_set(), test, CLASSES, method)
    assert [CLASSES[n] for n in probability.argmax(axis=1)] == list(CLASSES)
    np.testing.assert_allclose(probability.sum(axis=1), 1)


def test_white_balance_undoes_a_coloured_light():
    neutral, bluish = (dominant_colour(disc(PAINTS[3], gains)) for gains in ((1, 1, 1), BLUISH))
    assert neutral[1] > 40  # red
    assert ciede2000(neutral, bluish) < 6
    seen = np.array([[PAINTS[3], np.multiply(PAINTS[3], BLUISH)]], np.float32) / 255
    without = cv2.cvtColor(seen, cv2.COLOR_RGB2Lab)[0]
    assert ciede2000(*without) > 10


def test_the_foreground_is_the_disc():
    found = foreground(disc(PAINTS[3]))
    vivid = np.hypot(found.lab[:, 1], found.lab[:, 2]) > 30
    assert found.weight[vivid].sum() / found.weight.sum() > 0.6


def test_a_banner_does_not_change_the_light():
    plain, banner = disc(PAINTS[0]), disc(PAINTS[0])
    banner[:10] = banner[-11:] = (250, 120, 0)
    np.testing.assert_array_equal(foreground(plain).lab, foreground(banner).lab)


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_image_of_one_grey_is_measured(grey):
    blank = np.full((40, 40, 3), grey, np.uint8)
    assert np.isfinite(colour_features(blank[None])).all()
    assert np.abs(dominant_colour(blank)[1:]).max() < 1
    probability = colour_baseline(*train_set(), blank[None], CLASSES, "reference")
    assert CLASSES[int(probability.argmax())] == "grey"


@pytest.mark.parametrize("method", ["regression", "reference"])
def test_a_class_without_images_is_never_told(method):
    images, labels = train_set()
    probability = colour_baseline(images, labels, images[:3], (*CLASSES, "white"), method)
    assert probability.shape == (3, 5)
    np.testing.assert_array_equal(probability[:, 4], 0)


def test_the_result_is_deterministic():
    images, labels = train_set()
    features = colour_features(images)
    assert features.shape == (40, 32)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, colour_features(images))
    for method in ("regression", "reference"):
        first, second = (colour_baseline(images, labels, images, CLASSES, method) for _ in range(2))
        np.testing.assert_array_equal(first, second)
