"""A contact sheet: images with their labels, probabilities and decisions."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from augrank.errors import AugrankError
from augrank.images.decode import decode, read_image
from augrank.tasks.classify.response import ImageAnswer

CELL_PX, LINE_PX, MARGIN_PX = 200, 20, 14
MAX_IMAGES = 240
INK, MUTED, PAPER, EMPTY = "#16202c", "#6b7785", "white", "#eef1f4"
COLOURS = {"accept": "#0a7d43", "reject": "#b3261e", "ask": "#b26a00"}


def contact_sheet(answered: Sequence[tuple[str, ImageAnswer]], root: Path) -> Image.Image:
    """Draw answers.

    Args:
        answered: the path of each image, relative to ``root``, and its answer; the first
            MAX_IMAGES are drawn.
        root: the folder.
    """
    shown = answered[:MAX_IMAGES]
    lines = 2 + max(len(answer.labels) + len(answer.ranks) for _, answer in shown)
    step_y = CELL_PX + lines * LINE_PX + MARGIN_PX
    columns = min(len(shown), 6 if len(shown) <= 36 else 12)
    size = (
        MARGIN_PX + columns * (CELL_PX + MARGIN_PX),
        MARGIN_PX + -(-len(shown) // columns) * step_y,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (path, answer) in enumerate(shown):
        left = MARGIN_PX + number % columns * (CELL_PX + MARGIN_PX)
        top = MARGIN_PX + number // columns * step_y
        _paste(sheet, root / path, left, top)
        _caption(draw, path, answer, left, top)
    return sheet


def _paste(sheet: Image.Image, file: Path, left: int, top: int) -> None:
    try:
        cell = Image.fromarray(decode(read_image(file), CELL_PX).pixels)
    except (AugrankError, OSError):
        cell = Image.new("RGB", (CELL_PX, CELL_PX), EMPTY)
    sheet.paste(cell, (left, top))


def _caption(
    draw: ImageDraw.ImageDraw, path: str, answer: ImageAnswer, left: int, top: int
) -> None:
    """Write what is told below an image; the frame has the decision's colour."""
    decision = answer.decision
    frame = COLOURS[decision.decision] if decision else "#d5dae0"
    box = (left - 1, top - 1, left + CELL_PX, top + CELL_PX)
    draw.rectangle(box, outline=frame, width=4 if decision else 1)
    texts = [(_short(draw, Path(path).name), MUTED)]
    for label in answer.labels.values():
        texts.append((_short(draw, f"{label.value}  {label.probability:.1%}"), INK))
    for name, rank in answer.ranks.items():
        texts.append((_short(draw, f"{name}: percentile {rank.percentile:.0f}"), INK))
    if decision:
        texts.append((_short(draw, f"{decision.decision}  {decision.probability:.1%}"), frame))
    if answer.error:
        texts.append((_short(draw, f"skipped: {answer.error.get('message')}"), COLOURS["ask"]))
    for line, (text, colour) in enumerate(texts):
        draw.text((left, top + CELL_PX + 4 + line * LINE_PX), text, colour, font=_font())


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(15)


def _short(draw: ImageDraw.ImageDraw, text: str) -> str:
    """Cut a text to the width of an image, in one line."""
    text = " ".join(text.split())
    if draw.textlength(text, font=_font()) <= CELL_PX:
        return text
    while draw.textlength(text + "…", font=_font()) > CELL_PX:
        text = text[:-1]
    return text + "…"
