"""Draw an image that stands in for a missing photo."""

from __future__ import annotations

import cv2
import numpy as np

from simulation.drawing.canvas import Image, box, ellipse, rounded, shade
from simulation.drawing.car_drawing import cut_car
from simulation.drawing.inventory import Inventory
from simulation.drawing.sampling import Colour
from simulation.drawing.stage import EVERYWHERE, Stage

FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX)


def write(
    image: Image, text: str, at: tuple[float, float], height: float, colour: Colour, font: int = 1
) -> None:
    """Write a line of text, centred.

    Args:
        image: Where to, uint8 (n, n, 3).
        text: The text.
        at: Centre, frame units.
        height: Height of capitals, frame units; less where the line would be too long.
        colour: RGB.
        font: Which of `FONTS`.
    """
    n = len(image)
    face = FONTS[font % len(FONTS)]
    (w, h), _ = cv2.getTextSize(text, face, 1.0, 1)
    scale = min(height * n / h, 0.94 * n / w)
    thick = max(1, round(scale * 1.4))
    spot = round(at[0] * n - scale * w / 2), round(at[1] * n + scale * h / 2)
    cv2.putText(image, text, spot, face, scale, colour, thick, cv2.LINE_AA)


def draw_placeholder(r: Inventory, size: int) -> Image:
    """Draw a notice, a logo, a silhouette or a plain colour.

    Args:
        r: The image.
        size: Side of the image, pixels.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    a = r.advertiser
    stage = Stage(size)
    greys = ((236, 236, 236), (214, 216, 220), (250, 250, 250), (188, 190, 194))
    ground = greys[r.form] if r.seed % 3 else shade(a.banner_colour, 1.0)
    stage.solid([EVERYWHERE], ground, 0.0, 0.1 if r.seed % 2 else 0.0)
    dark = sum(ground) < 380
    ink: Colour = (236, 236, 236) if dark else shade(ground, 0.55)
    if a.placeholder == "silhouette":
        _draw_silhouette(stage, r, ink)
    elif a.placeholder == "logo":
        _draw_logo(stage, r, (0.5, 0.42), 0.22)
    elif a.placeholder == "icon":
        _draw_icon(stage, ink, ground)
    elif a.placeholder == "order":
        _draw_order(stage, r)
        return stage.image
    if a.placeholder != "plain":
        y = 0.5 if a.placeholder == "text" else 0.82
        words = a.notice.split(" ") if a.placeholder == "text" and r.form % 2 else [a.notice]
        for i, word in enumerate(words):
            write(
                stage.image, word, (0.5, y + 0.13 * (i - (len(words) - 1) / 2)), 0.07, ink, r.seed
            )
        if a.placeholder == "text":
            write(stage.image, a.sign, (0.5, 0.9), 0.04, ink)
            stage.line(box(0.05, 0.05, 0.95, 0.95), ink, 0.006, closed=True)
    return stage.image


def _draw_silhouette(stage: Stage, r: Inventory, ink: Colour) -> None:
    """Draw the outline of a car, filled, or under a sheet."""
    _, cover = cut_car(r.car, max(64, round(stage.size * 0.9)))
    flat = np.empty((*cover.shape, 3), np.uint8)
    flat[:] = ink
    high = len(cover) / cover.shape[1]
    quad = np.array([(-0.5, high), (0.5, high), (0.5, 0), (-0.5, 0)])
    with stage.at(0.5, 0.68, 0.9, mirror=r.mirror):
        stage.veil(ellipse(0, 0.06, 0.42, 0.03), 0.2, 0.04)
        stage.paste(flat, cover, quad)


def _draw_logo(stage: Stage, r: Inventory, at: tuple[float, float], radius: float) -> None:
    a = r.advertiser
    x, y = at
    stage.solid([ellipse(x, y, radius, radius)], a.banner_colour, 0.2)
    stage.fill(ellipse(x, y, radius * 0.86, radius * 0.86), (246, 246, 246))
    wing = np.array([(-0.7, 0.1), (0, -0.35), (0.7, 0.1), (0.25, 0.05), (0, 0.4), (-0.25, 0.05)])
    stage.fill(wing * radius + (x, y), a.banner_colour)
    write(stage.image, a.sign.upper(), (x, y + radius * 1.3), 0.05, shade(a.banner_colour, 0.7))


def _draw_icon(stage: Stage, ink: Colour, ground: Colour) -> None:
    """Draw the icon of a camera, crossed out."""
    body = [(0.28, 0.3, 0.04), (0.72, 0.3, 0.04), (0.72, 0.62, 0.04), (0.28, 0.62, 0.04)]
    stage.fill(rounded(body), ink)
    stage.fill(box(0.42, 0.25, 0.58, 0.32), ink)
    stage.fill(ellipse(0.5, 0.46, 0.11, 0.11), ground)
    stage.fill(ellipse(0.5, 0.46, 0.075, 0.075), ink)
    stage.line(np.array([(0.26, 0.68), (0.74, 0.24)]), ground, 0.03)


def _draw_order(stage: Stage, r: Inventory) -> None:
    """Draw a banner across an empty ground."""
    a = r.advertiser
    write(stage.image, a.sign.upper(), (0.5, 0.2), 0.07, shade(a.banner_colour, 0.8))
    stage.fill(box(0.0, 0.4, 1.0, 0.6), a.banner_colour)
    light = sum(a.banner_colour) > 480
    ink: Colour = (40, 40, 44) if light else (248, 248, 248)
    write(
        stage.image,
        ("ON ORDER", "COMING SOON", "IN TRANSIT", "ARRIVING SOON")[r.form],
        (0.5, 0.5),
        0.09,
        ink,
    )
    write(stage.image, r.make, (0.5, 0.75), 0.06, (110, 112, 116))
