"""Tiny catalogues: coloured shapes that are told apart at 32 pixels."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from augrank.reporting import NullReporter, Reporter

SHAPES = ("disc", "box", "bar")


def draw(number: int, side: int = 40) -> np.ndarray:
    """A shape with a light top and a coloured body, uint8 (side, side, 3) RGB."""
    rng = np.random.default_rng(number)
    image = np.full((side, side, 3), 255, np.uint8)
    colour = tuple(int(value) for value in rng.integers(60, 180, 3))
    middle = side // 2
    size = int(rng.integers(side // 4, side // 3))
    if SHAPES[number % 3] == "disc":
        cv2.circle(image, (middle, middle), size, colour, -1)
    elif SHAPES[number % 3] == "box":
        cv2.rectangle(image, (middle - size, middle - size), (middle + size, middle + size),
                      colour, -1)  # fmt: skip
    else:
        cv2.rectangle(image, (4, middle - 5), (side - 4, middle + 5), colour, -1)
    top = tuple(min(255, value + 60) for value in colour)
    cv2.rectangle(image, (middle - 3, middle - size), (middle + 3, middle - 3), top, -1)
    return image


@pytest.fixture
def reporter() -> Reporter:
    return NullReporter()


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[[int], Path]:
    """Write a catalogue of N images; returns its manifest."""

    def write(count: int) -> Path:
        folder = tmp_path / "catalogue"
        (folder / "images").mkdir(parents=True)
        rows = []
        for number in range(count):
            name = f"images/{number:03d}.png"
            cv2.imwrite(str(folder / name), draw(number)[..., ::-1])
            rows.append({"relative_im_path": name, "product_type": SHAPES[number % 3],
                         "year": 2000 + number})  # fmt: skip
        manifest = folder / "manifest.csv"
        pd.DataFrame(rows).to_csv(manifest, index=False)
        return manifest

    return write
