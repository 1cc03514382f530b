"""Images of coloured shapes that can be distinguished at 32 pixels."""

import cv2
import numpy as np

SHAPES = ("disc", "box", "bar")


def draw(number: int, side: int = 40) -> np.ndarray:
    """Return a shape with a light top and a coloured body, uint8 (side, side, 3) RGB."""
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
