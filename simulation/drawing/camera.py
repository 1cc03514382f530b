"""What light and a camera do to a scene: colour casts, exposure, blur, noise, compression."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from simulation.drawing.canvas import Image

Gains = tuple[float, float, float]


@dataclass(frozen=True)
class Camera:
    """A camera; it gives all of its images the same looks."""

    cast: Gains
    """Gains of red, green and blue."""
    noise: float
    """Standard deviation, grey levels."""
    saturation: float
    quality: int
    """Of JPEG, 1..100."""
    detail: float
    """Resolution of the lens, as a share of the image's."""


@dataclass(frozen=True)
class Light:
    """The light of one image."""

    name: str
    gains: Gains
    exposure: float
    contrast: float
    gradient: tuple[float, float]
    """Change of the brightness from left to right and from top to bottom."""
    vignette: float
    """How much darker the corners are than the middle."""


def sample_camera(rng: np.random.Generator) -> Camera:
    """Sample a camera, from a good phone to an old one."""
    red, blue = rng.normal(1, 0.035, 2)
    return Camera(
        cast=(float(red), 1.0, float(blue)),
        noise=float(rng.uniform(1, 8)),
        saturation=float(rng.uniform(0.75, 1.15)),
        quality=int(rng.integers(35, 93)),
        detail=float(rng.uniform(0.45, 1)),
    )


LIGHTS: dict[str, tuple[float, Gains, tuple[float, float], float]] = {
    "neutral": (0.3, (1.0, 1.0, 1.0), (0.88, 1.08), 0.08),
    "warm": (0.18, (1.1, 0.98, 0.8), (0.75, 1.05), 0.12),
    "cold": (0.14, (0.87, 0.98, 1.1), (0.8, 1.05), 0.1),
    "dim": (0.12, (1.04, 0.97, 0.86), (0.5, 0.68), 0.18),
    "overexposed": (0.1, (1.02, 1.0, 0.99), (1.28, 1.5), 0.05),
    "gradient": (0.08, (1.0, 1.0, 1.0), (0.75, 0.95), 0.1),
    "flash": (0.08, (1.0, 1.0, 1.03), (1.0, 1.2), 0.6),
}
"""Of each light: its share, gains, range of the exposure, vignette."""


def sample_light(rng: np.random.Generator) -> Light:
    """Sample the light of a snapshot."""
    shares = np.array([light[0] for light in LIGHTS.values()])
    name = tuple(LIGHTS)[int(rng.choice(len(shares), p=shares / shares.sum()))]
    _, gains, exposure, vignette = LIGHTS[name]
    slope = rng.uniform(-0.12, 0.12, 2) * (4.5 if name == "gradient" else 1)
    return Light(
        name=name,
        gains=gains,
        exposure=float(rng.uniform(*exposure)),
        contrast=float(rng.uniform(0.8, 1.1)),
        gradient=(float(slope[0]), float(slope[1])),
        vignette=vignette * float(rng.uniform(0.7, 1.3)),
    )


def light_up(image: Image, light: Light, camera: Camera) -> Image:
    """Light a scene, as a camera sees it.

    Args:
        image: uint8 (n, n, 3), RGB.
        light: The light.
        camera: The camera.

    Returns:
        uint8 (n, n, 3), RGB.
    """
    n = len(image)
    u = np.linspace(-1, 1, 32, dtype=np.float32)
    plane = 1 + light.gradient[0] * u[None, :] + light.gradient[1] * u[:, None]
    plane -= light.vignette * (u[None, :] ** 2 + u[:, None] ** 2) / 2
    matrix = np.diag(np.multiply(light.gains, camera.cast)) * light.exposure
    grey = np.full((3, 3), 1 / 3)
    matrix = (camera.saturation * np.eye(3) + (1 - camera.saturation) * grey) @ matrix
    seen = cv2.transform(image, np.float32(matrix))  # type: ignore[call-overload]
    full = cv2.resize(np.maximum(plane, 0.15) * np.float32(light.contrast), (n, n))
    lift = 110 * (1 - light.contrast) * light.exposure
    lit = cv2.multiply(seen, cv2.merge([full] * 3), dtype=cv2.CV_8U)
    return np.asarray(cv2.add(lit, np.array([lift, lift, lift, 0.0])), np.uint8)


def develop(
    image: Image, camera: Camera, blur: tuple[float, float], rng: np.random.Generator
) -> Image:
    """Blur an image, add the noise of the sensor, and compress it.

    Args:
        image: uint8 (n, n, 3), RGB.
        camera: The camera.
        blur: Defocus and motion, shares of the side of the image.
        rng: Source of the noise.

    Returns:
        uint8 (n, n, 3), RGB.
    """
    n = len(image)
    if camera.detail < 0.95:
        small = max(32, round(n * camera.detail))
        image = np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA))
        image = np.asarray(cv2.resize(image, (n, n), interpolation=cv2.INTER_LINEAR))
    if blur[0] * n > 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur[0] * n))
    if blur[1] * n > 1:
        image = np.asarray(cv2.filter2D(image, -1, _streak(blur[1] * n, rng.uniform(0, np.pi))))
    return compress(_grain(image, camera.noise, rng), camera.quality)


def _streak(length: float, angle: float) -> NDArray[np.float32]:
    """Return the kernel of a motion, float32 (k, k)."""
    k = int(length) // 2 * 2 + 3
    kernel = np.zeros((k, k), np.float32)
    way = 0.5 * length * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.rint(16 * (k // 2 + s * way)).astype(int) for s in (-1, 1))
    cv2.line(kernel, start.tolist(), end.tolist(), 1.0, 1, cv2.LINE_AA, 4)
    total = kernel.sum()
    return kernel / total if total else np.ones((1, 1), np.float32)


def _grain(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Add noise, more of it in the dark."""
    grain = rng.standard_normal(image.shape[:2], np.float32)
    tint = rng.standard_normal((image.shape[0] // 2, image.shape[1] // 2, 3), np.float32)
    colour = cv2.resize(tint, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    noise = cv2.merge([grain * np.float32(0.8 * sigma)] * 3) + colour * np.float32(0.7 * sigma)
    return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


def compress(image: Image, quality: int) -> Image:
    """Return the image after a round trip through JPEG."""
    code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
