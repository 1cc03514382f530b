"""Draw products that lie, stand or hang: sneakers, bags, garments."""

from __future__ import annotations

import numpy as np

from simulation.drawing.canvas import Points, box, curve, ellipse, moved, rounded, shade
from simulation.drawing.goods import Goods
from simulation.drawing.sneaker_drawing import cut_sneaker
from simulation.drawing.stage import Stage

Corner = tuple[float, float, float]


def draw_goods(stage: Stage, g: Goods) -> None:
    """Draw a product on the point where the stage is; its width is about the unit."""
    if g.product == "sneakers":
        _draw_sneakers(stage, g)
    elif g.product == "bag":
        _draw_bag(stage, g)
    elif g.show == "folded":
        _draw_folded(stage, g)
    else:
        _draw_garment(stage, g)


def _draw_sneakers(stage: Stage, g: Goods) -> None:
    side = max(48, stage.width(1.0))
    picture, cover = cut_sneaker(g.sneaker, min(side, stage.size))
    high = len(cover) / cover.shape[1]
    lean = {0: 0.0, 1: 0.05, 2: -0.05}[g.form]
    spots = ((0.1, 0.13, 0.92), (-0.05, 0.0, 1.0)) if g.show == "pair" else ((0.0, 0.0, 1.0),)
    for x, y, size in spots:
        stage.veil(ellipse(x, y + 0.02, 0.46 * size, 0.05), 0.6, 0.07)
        quad = np.array(
            [(-0.5, high - 0.12), (0.5, high - 0.12 + lean), (0.5, lean - 0.12), (-0.5, -0.12)]
        )
        stage.paste(picture, cover, quad * size + (x, y))


def _draw_bag(stage: Stage, g: Goods) -> None:
    """Draw a tote, a handbag or a backpack."""
    low, high = (0.8, 0.62, 0.95)[g.form], (0.32, 0.3, 0.26)[g.form]
    c, dark = g.colour, shade(g.colour, 0.72)
    if g.show == "standing":
        stage.veil(ellipse(0.04, 0.0, 0.5, 0.06), 0.55, 0.07)
    top = low if g.form != 2 else low - 0.05
    for w, shift in ((0.24, 0.03), (0.22, 0.0)):
        arch = curve(
            [
                (-w, top - 0.05),
                (-w * 0.8, top + high * 0.8),
                (0, top + high),
                (w * 0.8, top + high * 0.8),
                (w, top - 0.05),
            ]
        )
        if g.form != 2 or shift:
            stage.line(moved(arch, shift, shift), dark if not shift else shade(dark, 0.8), 0.035)
    outlines: dict[int, list[Corner]] = {
        0: [(-0.42, 0, 0.05), (0.42, 0, 0.05), (0.47, low, 0.02), (-0.47, low, 0.02)],
        1: [(-0.5, 0, 0.09), (0.5, 0, 0.09), (0.42, low, 0.1), (-0.42, low, 0.1)],
        2: [(-0.38, 0, 0.09), (0.38, 0, 0.09), (0.35, low, 0.25), (-0.35, low, 0.25)],
    }
    with stage.part([rounded(outlines[g.form])], c, relief=0.4, fade=0.12, depth=0.06):
        _draw_cloth(stage, g, 0.0, low)
        if g.form == 1:
            flap = curve(
                [(-0.5, low), (-0.4, 0.45 * low), (0, 0.36 * low), (0.4, 0.45 * low), (0.5, low)]
            )
            stage.fill(np.concatenate([flap, [(0.5, 1.0), (-0.5, 1.0)]]), shade(c, 0.9))
            stage.line(flap, dark, 0.014)
            stage.fill(ellipse(0, 0.38 * low, 0.04, 0.04), (206, 186, 120))
        if g.form == 2:
            pocket: list[Corner] = [
                (-0.26, 0.08, 0.05),
                (0.26, 0.08, 0.05),
                (0.26, 0.44, 0.08),
                (-0.26, 0.44, 0.08),
            ]
            stage.solid([rounded(pocket)], shade(c, 0.92), 0.4, depth=0.03)
            stage.line(np.array([(-0.22, 0.36), (0.22, 0.36)]), dark, 0.016)
            stage.line(curve([(-0.3, 0.6), (0, 0.74), (0.3, 0.6)]), dark, 0.016)


def _draw_cloth(stage: Stage, g: Goods, low: float, high: float) -> None:
    """Print the pattern of a cloth."""
    colour, middle = g.accent, 0.5 * (low + high)
    if g.pattern in ("stripes", "check"):
        rows = np.arange(low, high, 0.11)
        stage.lines(np.array([[(-0.9, r), (0.9, r)] for r in rows]), colour, 0.035)
    if g.pattern == "check":
        columns = np.arange(-0.8, 0.81, 0.13)
        stage.lines(np.array([[(c, low), (c, high)] for c in columns]), shade(colour, 0.8), 0.02)
    if g.pattern == "block":
        stage.fill(box(-0.9, middle + 0.1, 0.9, high + 0.2), colour)
    if g.pattern == "logo":
        stage.fill(ellipse(0, middle + 0.1, 0.13, 0.1), colour)
        stage.line(ellipse(0, middle + 0.1, 0.08, 0.06), shade(g.colour, 0.9), 0.015, closed=True)


def _cut(g: Goods) -> tuple[list[tuple[float, float]], list[tuple[float, float]], float]:
    """Return the right half of the body, the right sleeve, and the lower end."""
    long = g.product in ("shirt", "jacket") or g.form == 2
    low = {"dress": -0.75, "jacket": -0.12}.get(g.product, -0.05)
    hem = 0.46 if g.product == "dress" else 0.33
    waist = 0.24 if g.product == "dress" else 0.3
    body = [(0.12, 0.86), (0.36, 0.79), (0.31, 0.52), (waist, 0.3), (hem, low)]
    sleeves = {
        "flat": [(0.35, 0.8), (0.72, 0.45), (0.62, 0.35), (0.31, 0.55)],
        "hanging": [(0.35, 0.8), (0.5, 0.1), (0.38, 0.07), (0.3, 0.55)],
    }
    sleeve = sleeves[g.show]
    if not long:
        sleeve = [sleeve[0], *_shorter(sleeve), sleeve[3]]
    return body, sleeve if not (g.product == "dress" and g.form == 0) else [], low


def _shorter(sleeve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    a, b, c, d = (np.array(p) for p in sleeve)
    return [tuple(a + 0.45 * (b - a)), tuple(d + 0.4 * (c - d))]


def _draw_garment(stage: Stage, g: Goods) -> None:
    """Draw a garment that hangs or lies flat; its middle is at the origin."""
    if g.show == "hanging":
        stage.line(
            curve([(0.05, 0.97), (0.03, 1.03), (-0.03, 1.0), (0, 0.93), (0, 0.88)]),
            (96, 94, 92),
            0.014,
        )
        stage.line(np.array([(-0.33, 0.77), (0, 0.9), (0.33, 0.77)]), (150, 116, 80), 0.03)
    if g.product == "trousers":
        _draw_trousers(stage, g)
        return
    body, sleeve, low = _cut(g)
    right = rounded([(x, y, 0.03) for x, y in [*body, *((-x, y) for x, y in reversed(body))]])
    stage.veil(moved(right, 0.03, -0.03), 0.35, 0.06)
    for s in (-1, 1):
        if sleeve:
            arm = rounded([(s * x, y, 0.02) for x, y in sleeve])
            with stage.part([arm], shade(g.colour, 0.94), relief=0.4, depth=0.03):
                if g.pattern == "stripes":
                    _draw_cloth(stage, g, 0.0, 0.9)
    with stage.part([right], g.colour, relief=0.4, fade=0.06, depth=0.04):
        _draw_cloth(stage, g, low, 0.9)
        folds = [[(s * 0.2, 0.5), (s * 0.27, low)] for s in (-1, 0.2, 1)]
        stage.lines(np.array(folds), shade(g.colour, 0.9), 0.014)
        _draw_middle(stage, g, low)
    stage.fill(ellipse(0, 0.85, 0.12, 0.05), shade(g.colour, 0.5))


def _draw_middle(stage: Stage, g: Goods, low: float) -> None:
    dark = shade(g.colour, 0.7)
    if g.product == "jacket":
        stage.line(np.array([(0, 0.85), (0, low)]), dark, 0.022)
        for s in (-1, 1):
            stage.fill(
                np.array([(s * 0.1, 0.88), (s * 0.2, 0.68), (s * 0.03, 0.56)]),
                shade(g.colour, 0.85),
            )
            stage.line(np.array([(s * 0.12, 0.14), (s * 0.24, 0.2)]), dark, 0.014)
    elif g.product == "shirt":
        stage.line(np.array([(0, 0.85), (0, low)]), dark, 0.012)
        for y in np.arange(low + 0.08, 0.75, 0.14):
            stage.fill(ellipse(0, y, 0.015, 0.015), shade(g.colour, 1.5))
        for s in (-1, 1):
            stage.fill(
                np.array([(s * 0.12, 0.89), (s * 0.15, 0.76), (0, 0.78)]), shade(g.colour, 0.88)
            )
    elif g.product == "dress":
        stage.line(np.array([(-0.4, 0.3), (0.4, 0.3)]), dark, 0.02)
    else:
        stage.line(curve([(-0.15, 0.86), (0, 0.76), (0.15, 0.86)]), dark, 0.025)


def _draw_trousers(stage: Stage, g: Goods) -> None:
    hem = (0.14, 0.18, 0.24)[g.form]
    half = [(0.26, 0.8), (0.3, 0.45), (0.12 + hem, -0.75), (0.12, -0.75), (0.0, 0.4)]
    outline: Points = rounded(
        [(x, y, 0.02) for x, y in [*half, *((-x, y) for x, y in reversed(half))]]
    )
    stage.veil(moved(outline, 0.03, -0.03), 0.35, 0.06)
    dark = shade(g.colour, 0.75)
    with stage.part([outline], g.colour, relief=0.4, depth=0.04):
        stage.fill(box(-0.3, 0.73, 0.3, 0.85), shade(g.colour, 0.86))
        stage.line(np.array([(0, 0.8), (0, 0.4)]), dark, 0.014)
        for s in (-1, 1):
            stage.line(np.array([(s * 0.19, 0.73), (s * 0.27, 0.58)]), dark, 0.014)
            stage.line(
                np.array([(s * 0.15, 0.5), (s * (0.1 + 0.5 * hem), -0.75)]),
                shade(g.colour, 0.9),
                0.012,
            )


def _draw_folded(stage: Stage, g: Goods) -> None:
    """Draw a folded garment, seen from above at an angle."""
    c = g.colour
    stage.veil(box(-0.45, -0.38, 0.5, 0.4), 0.45, 0.08)
    for i in (2, 1, 0):
        y = -0.05 * i
        sheet: list[Corner] = [
            (-0.42, y - 0.36, 0.05),
            (0.42, y - 0.36, 0.05),
            (0.38, y + 0.42, 0.04),
            (-0.38, y + 0.42, 0.04),
        ]
        with stage.part([rounded(sheet)], shade(c, 1 - 0.08 * i), relief=0.45, depth=0.04):
            if i == 0:
                _draw_cloth(stage, g, -0.4, 0.5)
                if g.product != "trousers":
                    stage.fill(ellipse(0, 0.4, 0.16, 0.1), shade(c, 0.6))
                    stage.line(ellipse(0, 0.38, 0.17, 0.12), shade(c, 0.85), 0.03, closed=True)
                if g.product in ("shirt", "jacket"):
                    stage.line(np.array([(0, 0.3), (0, -0.4)]), shade(c, 0.75), 0.014)
