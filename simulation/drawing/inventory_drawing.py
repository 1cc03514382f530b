"""Draw an image of a dealer's inventory: photos on a lot and computer-made pictures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from simulation.drawing.camera import compress, develop, light_up
from simulation.drawing.canvas import SHADOW_ROOM, Image, Points, box, ellipse, moved, shade
from simulation.drawing.car import Car
from simulation.drawing.car_drawing import cut_car
from simulation.drawing.inventory import Advertiser, Inventory
from simulation.drawing.placeholder_drawing import draw_placeholder, write
from simulation.drawing.sampling import Colour, hsv
from simulation.drawing.stage import EVERYWHERE, Stage

SKIES: dict[str, tuple[Colour, Colour]] = {
    "noon": ((92, 150, 222), (196, 218, 236)),
    "overcast": ((176, 182, 190), (214, 216, 218)),
    "dusk": ((70, 74, 120), (232, 164, 130)),
    "sodium": ((22, 24, 36), (44, 44, 56)),
    "showroom": ((214, 214, 212), (232, 232, 230)),
}
"""Colours at the top and at the horizon."""


def draw_inventory(r: Inventory, size: int) -> Image:
    """Draw an image of an inventory.

    Args:
        r: The image.
        size: Side of the image, pixels.

    Returns:
        uint8 (size, size, 3), RGB.
    """
    if r.type == "placeholder":
        return compress(draw_placeholder(r, size), r.advertiser.camera.quality)
    return _draw_stock(r, size) if r.type == "stock" else _draw_photo(r, size)


def _quad(r: Inventory, high: float, wide: float) -> Points:
    """Return the corners of a car's picture in units of its width, y upwards from the wheels."""
    taller, slope = r.warp
    low = np.array([0.35 * taller * high + slope, -0.35 * taller * high - slope])
    rear, front = high * (1 - 0.5 * taller), high * (1 + 0.5 * taller)
    corners = np.array(
        [(-wide, rear + low[0]), (wide, front + low[1]), (wide, low[1]), (-wide, low[0])]
    )
    return corners - (0.0, SHADOW_ROOM)


def _park(stage: Stage, car: Car, r: Inventory, spot: tuple[float, float, float]) -> None:
    """Lay a car on the stage: x, y of its wheels and its length."""
    x, y, length = spot
    picture, cover = cut_car(car, max(64, round(stage.size * min(1.0, length / 0.85))))
    high = len(cover) / cover.shape[1]
    with stage.at(x, y, length / 0.85, mirror=r.mirror):
        stage.paste(picture, cover, _quad(r, high, 0.5))


def _draw_photo(r: Inventory, size: int) -> Image:
    rng = np.random.default_rng(r.seed)
    place = np.random.default_rng([r.advertiser.seed, 4])
    stage = Stage(size, float(rng.normal(0, 1.5)))
    x, horizon, length, ground = r.view
    _draw_place(stage, r, horizon, place)
    stage.mottle(place, 0.05)
    for i, other in enumerate(r.others):
        at = x + (i - 1) * 0.42 + float(rng.uniform(-0.12, 0.12))
        y = horizon + 0.05 + 0.02 * i
        with stage.at(at, y, 1.0):
            stage.veil(ellipse(0, 0.005, 0.17, 0.012), 0.5, 0.02)
        _park(stage, other, r, (at, y, 0.36))
    strong = {"noon": 0.75, "showroom": 0.4, "overcast": 0.4}.get(r.light.name, 0.5)
    shift = 0.06 if r.light.name == "noon" else 0.0
    with stage.at(x + shift, ground, length):
        stage.veil(ellipse(0, 0.0, 0.5, 0.05), strong, 0.05)
    if r.light.name == "showroom":
        _reflect(stage, r, (x, ground, length))
    _park(stage, r.car, r, (x, ground, length))
    _draw_shine(stage, r, rng)
    _draw_plate(stage, r)
    camera = r.advertiser.camera
    image = develop(light_up(stage.image, r.light, camera), camera, r.blur, rng)
    return compress(_draw_banner(image, r.advertiser), camera.quality) if r.banner else image


def _draw_place(stage: Stage, r: Inventory, horizon: float, rng: np.random.Generator) -> None:
    a = r.advertiser
    high, low = SKIES[r.light.name]
    for i, y in enumerate(np.linspace(-0.4, horizon, 9)[:-1]):
        mix = i / 8
        tint = tuple(int(h + mix * (v - h)) for h, v in zip(high, low, strict=True))
        stage.fill(box(-0.4, y, 1.4, horizon + 0.02), (tint[0], tint[1], tint[2]))
    if r.light.name == "showroom":
        _draw_hall(stage, a, horizon)
    else:
        _draw_backdrop(stage, a, horizon, rng)
    colour = shade(a.lot_colour, 1.3) if r.light.name == "showroom" else a.lot_colour
    with stage.part([box(-0.4, horizon, 1.4, 1.5)], colour, relief=0.0, fade=-0.15):
        _draw_ground(stage, a, r.light.name, horizon, colour)


def _draw_ground(stage: Stage, a: Advertiser, light: str, horizon: float, colour: Colour) -> None:
    focus = np.array([0.5, horizon - 0.08])
    if a.lot == "paving" or light == "showroom":
        feet = np.stack([np.linspace(-3, 4, 22), np.full(22, 1.4)], 1)
        rows = horizon + np.array([0.03, 0.08, 0.16, 0.28, 0.44])
        stage.lines(
            np.stack([np.broadcast_to(focus, feet.shape), feet], 1), shade(colour, 0.88), 0.003
        )
        stage.lines(np.array([[(-0.4, y), (1.4, y)] for y in rows]), shade(colour, 0.88), 0.003)
    elif a.lot == "gravel":
        rng = np.random.default_rng(a.seed)
        dots = np.stack(
            [rng.uniform(-0.2, 1.2, 260), horizon + rng.uniform(0, 1, 260) ** 1.5 * 0.6], 1
        )
        stage.lines(np.stack([dots, moved(dots, 0.006, 0.0)], 1), shade(colour, 1.2), 0.004)
    else:
        for x in (-1.6, -0.6, 0.35, 1.35, 2.4):
            line = np.array([focus + 0.25 * (np.array([x, 1.4]) - focus), (x, 1.4)])
            stage.line(line, (222, 222, 214) if a.seed % 2 else shade(colour, 1.2), 0.012)


def _draw_hall(stage: Stage, a: Advertiser, horizon: float) -> None:
    stage.solid([box(-0.4, -0.4, 1.4, horizon)], shade(a.wall, 1.3), 0.0, -0.1)
    for x in np.arange(-0.3, 1.4, 0.28):
        stage.solid([box(x, 0.02, x + 0.22, horizon - 0.02)], shade(a.wall, 1.55), 0.0, 0.15)
    for x in (0.1, 0.4, 0.7):
        stage.veil(ellipse(x, 0.04, 0.09, 0.02), 0.9, 0.03, (255, 252, 240))
    stage.fill(box(-0.4, 0.12, 1.4, 0.2), a.banner_colour)
    write(stage.image, a.sign.upper(), (0.5, 0.16), 0.045, (244, 244, 244))


def _draw_backdrop(stage: Stage, a: Advertiser, horizon: float, rng: np.random.Generator) -> None:
    if a.backdrop == "building":
        top = horizon - float(rng.uniform(0.2, 0.34))
        with stage.part([box(-0.4, top, 1.4, horizon)], a.wall, relief=0.2, fade=0.1):
            stage.fill(box(-0.4, top, 1.4, top + 0.07), a.banner_colour)
            for x in np.arange(-0.35, 1.4, 0.17):
                stage.fill(box(x, top + 0.1, x + 0.14, horizon - 0.01), shade(a.wall, 0.45))
                stage.line(
                    np.array([(x, top + 0.2), (x + 0.14, top + 0.12)]), shade(a.wall, 0.7), 0.012
                )
            write(stage.image, a.sign.upper(), (0.5, top + 0.037), 0.04, (244, 244, 244))
    elif a.backdrop == "fence":
        stage.lines(
            np.array([[(x, horizon - 0.16), (x, horizon)] for x in np.arange(-0.3, 1.3, 0.03)]),
            (92, 94, 98),
            0.003,
        )
        stage.lines(
            np.array([[(-0.4, horizon - y), (1.4, horizon - y)] for y in (0.16, 0.03)]),
            (92, 94, 98),
            0.008,
        )
    if a.backdrop != "building":
        green = hsv(rng.uniform(0.22, 0.36), rng.uniform(0.3, 0.55), rng.uniform(0.25, 0.5))
        count = 9 if a.backdrop == "trees" else 4
        for x in rng.uniform(-0.2, 1.2, count):
            r = float(rng.uniform(0.05, 0.13))
            crown = ellipse(float(x), horizon - r * 1.1, r, r * 1.1)
            stage.solid([crown], shade(green, float(rng.uniform(0.75, 1.1))), 0.35, depth=0.03)


def _reflect(stage: Stage, r: Inventory, spot: tuple[float, float, float]) -> None:
    """Lay the reflection of a car on a polished ground."""
    x, y, length = spot
    picture, cover = cut_car(r.car, max(64, round(stage.size * 0.5)))
    high = len(cover) / cover.shape[1]
    fading = np.linspace(0.0, 0.32, len(cover), dtype=np.float32)[:, None]
    with stage.at(x, y, length / 0.85, mirror=r.mirror):
        quad = _quad(r, high, 0.5) * (1.0, -0.55)
        stage.paste(picture, np.asarray(cover * fading, np.uint8), quad)


def _draw_shine(stage: Stage, r: Inventory, rng: np.random.Generator) -> None:
    """Add the gleam of the sun or of lamps on the paint."""
    x, _, length, ground = r.view
    if r.light.name == "overcast":
        return
    tint = {"sodium": (255, 196, 110), "dusk": (255, 190, 150)}.get(r.light.name, (255, 255, 250))
    for _ in range(2):
        u, v = rng.uniform(-0.35, 0.35), rng.uniform(0.16, 0.3)
        with stage.at(x, ground, length):
            stage.veil(ellipse(u, v, 0.05, 0.012), 0.55, 0.03, tint)


def _draw_plate(stage: Stage, r: Inventory) -> None:
    """Stick a number plate to the front end, as seen at an angle."""
    a = r.advertiser
    if a.plate == "none":
        return
    x, _, length, ground = r.view
    colours = {"white": (238, 238, 234), "yellow": (236, 196, 60), "sign": a.banner_colour}
    with stage.at(x, ground, length, mirror=r.mirror):
        low = r.car.clearance + 0.03
        plate = np.array(
            [(0.452, low), (0.492, low + 0.004), (0.492, low + 0.036), (0.452, low + 0.034)]
        )
        stage.fill(plate, colours[a.plate])
        stage.line(plate, (40, 40, 44), 0.003, closed=True)


def _draw_banner(image: Image, a: Advertiser) -> Image:
    """Lay the banner of a dealer over a photo."""
    n = len(image)
    white: Colour = (246, 246, 246)
    if a.banner in ("bottom", "top", "frame"):
        rows = slice(round(0.88 * n), n) if a.banner != "top" else slice(0, round(0.1 * n))
        image[rows] = a.banner_colour
        write(image, a.sign.upper(), (0.34, 0.94 if a.banner != "top" else 0.05), 0.05, white)
        write(
            image,
            f"0800 {a.seed % 1000:03d}",
            (0.8, 0.94 if a.banner != "top" else 0.05),
            0.04,
            white,
        )
    if a.banner == "frame":
        cv2.rectangle(image, (0, 0), (n - 1, n - 1), a.banner_colour, max(2, n // 32))
    if a.banner == "corner":
        image[: round(0.13 * n), : round(0.36 * n)] = a.banner_colour
        write(image, a.sign, (0.18, 0.065), 0.045, white)
    if a.banner == "watermark":
        faint = image.copy()
        write(faint, a.sign.upper(), (0.5, 0.5), 0.09, white)
        image = np.asarray(cv2.addWeighted(image, 0.65, faint, 0.35, 0), np.uint8)
    return image


def _draw_stock(r: Inventory, size: int) -> Image:
    """Draw a computer-made picture: no noise, no place."""
    stage = Stage(size)
    a = r.advertiser
    tone = 246 + r.form * 3
    stage.fill(EVERYWHERE, (tone, tone, tone))
    if a.stock == "gradient":
        stage.solid([EVERYWHERE], (226 + 2 * r.form, 229 + 2 * r.form, 233 + 2 * r.form), 0.0, 0.16)
    ground = r.view[3] - 0.05
    if a.stock == "horizon":
        stage.veil(box(-0.4, ground - 0.1, 1.4, 1.4), 0.12, 0.1)
    straight = replace(r, warp=(r.warp[0] * 0.3, 0.0))
    length = r.view[2]
    if a.stock == "reflection":
        _reflect(stage, straight, (0.5, ground, length))
    with stage.at(0.5, ground, length):
        stage.veil(ellipse(0, 0.004, 0.49, 0.03), 0.45, 0.05)
    _park(stage, r.car, straight, (0.5, ground, length))
    return compress(stage.image, 90)
