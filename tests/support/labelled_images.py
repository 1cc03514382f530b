"""Labelled images of coloured shapes, and a classifier that was trained on them."""

import csv
from pathlib import Path

import cv2
import numpy as np

from augrank.reporting import NullReporter
from tests.support.shapes import SHAPES
from training.tasks.run import run_fit

COLOURS = {"blue": (30, 60, 200), "green": (30, 170, 60), "red": (200, 40, 40)}
SIDE = 40
RULES = """
label: shape
precision: 0.6
confidence: 0.8
credit:
  Shape Review: [disc]
  Box Review: [box, bar]
"""
OPTIONS = {
    "task": "classify",
    "labels": ("shape", "colour"),
    "image_size": 32,
    "epochs": 3,
    "batch_size": 32,
    "device": "cpu",
    "validation_share": 0.4,
    "threads": 1,
}
RANKED = {**OPTIONS, "ranks": ("likes",), "epochs": 8}  # of the fixture ``classify_run``


def draw_labelled(number: int) -> tuple[np.ndarray, str, str]:
    """Return a shape somewhere on a grey background, uint8 (SIDE, SIDE, 3) RGB, and its labels."""
    rng = np.random.default_rng(number)
    shape, (name, colour) = SHAPES[number % 3], list(COLOURS.items())[number // 3 % 3]
    image = np.full((SIDE, SIDE, 3), rng.integers(170, 255), np.uint8)
    paint = tuple(int(value + rng.integers(-25, 25)) for value in colour)
    x, y = (int(SIDE / 2 + rng.integers(-5, 6)) for _ in range(2))
    size = int(rng.integers(8, 13))
    if shape == "disc":
        cv2.circle(image, (x, y), size, paint, -1)
    elif shape == "box":
        cv2.rectangle(image, (x - size, y - size), (x + size, y + size), paint, -1)
    else:
        cv2.rectangle(image, (2, y - 3), (SIDE - 2, y + 3), paint, -1)
    noisy = image + rng.normal(0, 6, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), shape, name


def likes_of(shape: str, colour: str, number: int, owner: int) -> int:
    """Return how often an image is liked: more if it is red or a disc, or its owner is known."""
    rng = np.random.default_rng([number, 1])
    followers = np.random.default_rng([owner, 2]).normal(6, 1.5)
    appeal = 1.5 * (colour == "red") + 1.0 * (shape == "disc")
    return round(np.exp(followers + appeal + rng.normal(0, 0.3)))


def write_labelled(folder: Path, count: int, uploads: int = 2) -> Path:
    """Write images and their manifest; every uploader has so many images. Return the manifest."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        image, shape, colour = draw_labelled(number)
        path = f"images/{number:03d}.png"
        cv2.imwrite(str(folder / path), image[..., ::-1])
        owner = number // uploads
        rows.append([path, shape, colour, f"user{owner}", likes_of(shape, colour, number, owner)])
    manifest = folder / "labels.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["relative_im_path", "shape", "colour", "uploader", "likes"])
        writer.writerows(rows)
    return manifest


def fit_classifier(manifest: Path, out: Path, **options) -> dict:
    """Train a small classifier; return its report."""
    chosen = {**OPTIONS, "manifest": manifest, "out": out, **options}
    return run_fit(None, chosen, NullReporter())
