"""Measure the colour of what an image shows, in CIELAB and without learning where it is.

A photo is white-balanced by grey world (Buchsbaum, 1980). A pixel belongs to the foreground the
more it is near the middle and the rarer its colour is around it. The colours of these pixels are
the features of a logistic regression; their dominant colour is compared with references. Both are
baselines for what a network learns: see ``colour_baseline``.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from augrank.arrays import Float32Array, Float64Array
from benchmarks.labels.colour_difference import ciede2000

Images = NDArray[np.uint8]

SIDE = 64  # pixels of what is measured: noise and texture are averaged out
GREY = 0.2  # mean of each linear channel after white balance
MIDDLE, SPREAD = (0.5, 0.62), (0.22, 0.09)  # x, y: a car stands a little below the middle
SUBJECT = (0.06, 0.3, 0.94, 0.84)  # x, y, x, y of the box around which is background
BANNERS = (0.12, 0.87)  # y above and below which dealers lay banners over photos
BINS, RANGES = 8, ((0.0, 100.0), (-60.0, 60.0), (-60.0, 60.0))  # of L, a, b
NEGLIGIBLE = 0.05  # share of the highest weight, below which a pixel is left out
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
CLUSTERS, ITERATIONS = 5, 10
NEUTRAL = 4.0  # chroma added when clusters are compared, so that grey has a chance
REFERENCES = 4  # of a class: blue is navy, royal and sky
SCALE = 5.0  # CIEDE2000 that makes a class e times less probable
PENALTY = 0.3  # C of the logistic regression

Method = Literal["regression", "reference"]


class Foreground(NamedTuple):
    """The foreground of one image."""

    lab: Float32Array  # (P, 3) colours after white balance
    weight: Float32Array  # (P,)
    surroundings: Float32Array  # (9,) Lab of the background, quantiles of L, log of the light


class _Layout(NamedTuple):
    """What is known of an image before it is seen, (SIDE, SIDE)."""

    prior: Float32Array  # of the foreground
    scene: NDArray[np.bool_]  # without banners
    around: NDArray[np.bool_]  # background


def colour_baseline(
    train_images: Images,
    train_labels: NDArray[np.int64],
    test_images: Images,
    classes: Sequence[str],
    method: Method = "regression",
) -> Float64Array:
    """Tell the colour of images by what was measured.

    Args:
        train_images: uint8 (N, S, S, 3), RGB.
        train_labels: (N,) numbers of classes.
        test_images: uint8 (M, S, S, 3), RGB.
        classes: names, K.
        method: ``regression``, a multinomial logistic regression on ``colour_features`` and their
            products; or ``reference``, the CIEDE2000 from ``dominant_colour`` to the nearest of
            four references of each class.

    Returns:
        Probabilities, (M, K); 0 for a class without training images.
    """
    if method == "reference":
        train, test = (
            np.stack([dominant_colour(image) for image in images])
            for images in (train_images, test_images)
        )
        return _by_reference(train, train_labels, test, len(classes))
    train, test = colour_features(train_images), colour_features(test_images)
    return _by_regression(train, train_labels, test, len(classes))


def colour_features(images: Images) -> Float32Array:
    """Measure images.

    Args:
        images: uint8 (N, S, S, 3), RGB.

    Returns:
        float32 (N, 32): quantiles of L, a, b and chroma in the foreground, its mean Lab weighted by
        squared chroma, and the surroundings.
    """
    return np.stack([_features(foreground(image)) for image in images])


def dominant_colour(image: Images) -> Float32Array:
    """Return the dominant colour of the foreground after white balance, Lab float32 (3,).

    It is the largest cluster of colours (k-means), where chroma counts: tyres, windows and
    highlights have none, and are most of many a car.

    Args:
        image: uint8 (S, S, 3), RGB.
    """
    found = foreground(image)
    centre, member = _cluster(found.lab, found.weight, CLUSTERS)
    size = np.bincount(member, found.weight, len(centre))
    best = np.argmax(size * (np.hypot(centre[:, 1], centre[:, 2]) + NEUTRAL))
    return np.asarray(centre[best], np.float32)


def foreground(image: Images) -> Foreground:
    """Find the foreground of an image, uint8 (S, S, 3), RGB.

    The weight of a pixel is a Gaussian around the middle, multiplied by the probability that its
    colour is of the foreground: by histograms of Lab, as in the first step of GrabCut (Rother et
    al., 2004).
    """
    layout = _layout()
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    rgb = np.asarray(small / 255, np.float32)
    seen = np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab), np.float32)
    linear = _to_linear(rgb)
    light = np.maximum(linear[layout.scene].mean(axis=0), 1e-3)
    balanced = np.clip(linear * (GREY / light), 0, 1).astype(np.float32)
    lab = np.asarray(cv2.cvtColor(balanced, cv2.COLOR_LRGB2Lab), np.float32)
    weight = layout.prior * _likelihood(lab, layout)
    inside = weight > NEGLIGIBLE * weight.max()
    surroundings = (
        seen[layout.around].mean(axis=0),
        np.percentile(seen[..., 0], (5, 50, 95)),
        np.log(light),
    )
    return Foreground(lab[inside], weight[inside], np.concatenate(surroundings).astype(np.float32))


@cache
def _layout() -> _Layout:
    x, y = np.meshgrid(*[(np.arange(SIDE) + 0.5) / SIDE] * 2)
    prior = np.exp(-(((x - MIDDLE[0]) / SPREAD[0]) ** 2 + ((y - MIDDLE[1]) / SPREAD[1]) ** 2) / 2)
    left, top, right, bottom = SUBJECT
    subject = (x > left) & (x < right) & (y > top) & (y < bottom)
    scene = (y > BANNERS[0]) & (y < BANNERS[1])
    return _Layout(prior.astype(np.float32), scene, scene & ~subject)


def _to_linear(rgb: Float32Array) -> Float32Array:
    """Undo the transfer function of sRGB (IEC 61966-2-1); 0..1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear.astype(np.float32)


def _likelihood(lab: Float32Array, layout: _Layout) -> Float32Array:
    """Return the probability that a pixel is of the foreground, by its colour; (SIDE, SIDE)."""
    low, high = np.array(RANGES, np.float32).T
    cell = np.clip((lab - low) / (high - low) * BINS, 0, BINS - 1).astype(np.int64)
    number = (cell[..., 0] * BINS + cell[..., 1]) * BINS + cell[..., 2]
    inside = _histogram(number, layout.prior)
    outside = _histogram(number, layout.around.astype(np.float32))
    return np.asarray((inside / (inside + outside + 1e-4))[number])


def _histogram(number: NDArray[np.int64], weight: Float32Array) -> Float32Array:
    """Return the shares of all cells, (BINS³,), each blurred into its neighbours."""
    blur = (2 * np.eye(BINS) + np.eye(BINS, k=1) + np.eye(BINS, k=-1)) / 4
    count = np.bincount(number.ravel(), weight.ravel(), BINS**3).reshape([BINS] * 3)
    blurred = np.einsum("ijk,il,jm,kn->lmn", count, blur, blur, blur, optimize=True)
    return np.asarray(blurred.ravel() / weight.sum(), np.float32)


def _features(found: Foreground) -> Float32Array:
    lab, weight = found.lab, found.weight
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    vivid = weight * (chroma**2 + 1e-3)
    columns = (*lab.T, chroma)
    spread = [_quantiles(column, weight) for column in columns]
    parts = [*spread, vivid @ lab / vivid.sum(), found.surroundings]
    return np.concatenate(parts).astype(np.float32)


def _quantiles(values: Float32Array, weight: Float32Array) -> Float32Array:
    """Return the weighted QUANTILES of values (P,)."""
    order = np.argsort(values, kind="stable")
    place = np.cumsum(weight[order]) / weight.sum()
    return values[order][np.minimum(np.searchsorted(place, QUANTILES), len(order) - 1)]


def _cluster(
    points: Float32Array, weight: Float32Array, clusters: int
) -> tuple[Float64Array, NDArray[np.int64]]:
    """Cluster points (P, D) by k-means, starting from points that are far from each other.

    Returns:
        Centres, (clusters, D), and the number of each point's cluster, (P,).
    """
    centre = points[[np.argmax(weight)]].astype(np.float64)
    for _ in range(clusters - 1):
        gap = ((points[:, None] - centre) ** 2).sum(axis=2).min(axis=1)
        centre = np.concatenate([centre, points[[np.argmax(weight * gap)]]])
    for _ in range(ITERATIONS):
        member = ((points[:, None] - centre) ** 2).sum(axis=2).argmin(axis=1)
        total = np.bincount(member, weight, clusters)[:, None]
        sums = np.stack([np.bincount(member, weight * x, clusters) for x in points.T], axis=1)
        centre = np.where(total > 0, sums / np.maximum(total, 1e-12), centre)
    return centre, member


def _by_reference(
    train: Float32Array, label: NDArray[np.int64], test: Float32Array, classes: int
) -> Float64Array:
    """Compare dominant colours, Lab (N, 3), with the medians of clusters of each class."""
    distance = np.full((len(test), classes), np.inf)
    for number in np.unique(label):
        colours = train[label == number]
        member = _cluster(colours, np.ones(len(colours), np.float32), REFERENCES)[1]
        references = np.stack([np.median(colours[member == m], axis=0) for m in np.unique(member)])
        distance[:, number] = ciede2000(test[:, None], references).min(axis=1)
    odds = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / SCALE)
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _by_regression(
    train: Float32Array, label: NDArray[np.int64], test: Float32Array, classes: int
) -> Float64Array:
    """Fit a logistic regression to features, (N, 32), and their products."""
    from sklearn.linear_model import LogisticRegression  # slow to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    model = make_pipeline(
        StandardScaler(),
        PolynomialFeatures(2, include_bias=False),
        StandardScaler(),
        LogisticRegression(C=PENALTY, max_iter=200, tol=1e-3),
    )
    model.fit(train, label)
    probability = np.zeros((len(test), classes))
    probability[:, model.classes_] = model.predict_proba(test)
    return probability
