"""Pictures that nobody has seen: random patterns, no two of which look alike."""

import cv2
import numpy as np

CELLS, JPEG_QUALITY = 9, 85


def new_pictures(count: int, seed: int, side: int = 512) -> list[bytes]:
    """Draw JPEG files.

    Args:
        count: number of files.
        seed: other seeds give other pictures.
        side: width and height in pixels.
    """
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        cells = rng.integers(0, 256, (CELLS, CELLS, 3), dtype=np.uint8)
        image = cv2.resize(cells, (side, side), interpolation=cv2.INTER_CUBIC)
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        files.append(encoded.tobytes())
    return files
