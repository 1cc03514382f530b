"""The difference between two colours, as people see it."""

import numpy as np

from augrank.arrays import Float32Array, Float64Array

Lab = Float32Array | Float64Array  # CIELAB


def ciede2000(first: Lab, second: Lab) -> Float64Array:
    """Return the colour differences of CIEDE2000, as Sharma, Wu and Dalal (2005) compute them.

    Args:
        first: Lab, (..., 3).
        second: Lab, (..., 3); the shapes are broadcast.
    """
    one, two = (np.asarray(each, np.float64) for each in np.broadcast_arrays(first, second))
    chroma7 = ((np.hypot(one[..., 1], one[..., 2]) + np.hypot(two[..., 1], two[..., 2])) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(chroma7 / (chroma7 + 25.0**7))
    c1, c2 = (np.hypot(each[..., 1] * stretch, each[..., 2]) for each in (one, two))
    h1, h2 = (np.arctan2(each[..., 2], each[..., 1] * stretch) % (2 * np.pi) for each in (one, two))
    grey = c1 * c2 == 0
    # Between hues the shorter way around the circle counts; a grey has no hue.
    turn = np.where(grey, 0, (h2 - h1 + np.pi) % (2 * np.pi) - np.pi)
    hue = np.where(grey, h1 + h2, (h1 + h2) / 2 + np.pi * (np.abs(h1 - h2) > np.pi))
    light, chroma = (one[..., 0] + two[..., 0]) / 2, (c1 + c2) / 2
    factor = (
        1
        - 0.17 * np.cos(hue - np.pi / 6)
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + np.radians(6))
        - 0.2 * np.cos(4 * hue - np.radians(63))
    )
    from_50 = (light - 50) ** 2
    dl = (two[..., 0] - one[..., 0]) / (1 + 0.015 * from_50 / np.sqrt(20 + from_50))
    dc = (c2 - c1) / (1 + 0.045 * chroma)
    dh = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2) / (1 + 0.015 * chroma * factor)
    blue = np.exp(-(((np.degrees(hue) % 360 - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(chroma**7 / (chroma**7 + 25.0**7)) * np.sin(np.pi / 3 * blue)
    return np.asarray(np.sqrt(dl**2 + dc**2 + dh**2 + rotation * dc * dh), np.float64)
