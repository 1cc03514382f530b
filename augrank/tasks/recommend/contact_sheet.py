"""A contact sheet: the candidates and alternates of an answer as one image, with their scores."""

import base64
import io

from PIL import Image, ImageDraw, ImageFont

from augrank.images.augmentations import ORIGINAL, AugmentationSet
from augrank.images.decode import decode
from augrank.tasks.recommend.response import AlternateScore, Answer, CandidateScore, Score
from augrank.tasks.recommend.wording import decimals

CELL_PX, CAPTION_PX, MARGIN_PX, TITLE_PX = 224, 74, 16, 128
TITLE_LINES = 4
COLUMNS = 6
Cell = tuple[Image.Image, str, CandidateScore | AlternateScore]
INK, MUTED, GOOD, BAD, PAPER = "#16202c", "#6b7785", "#0a7d43", "#b3261e", "white"


def contact_sheet(answer: Answer, image: bytes, augmentations: AugmentationSet) -> Image.Image:
    """Draw an answer.

    Args:
        answer: with thumbnails, or alternates are left out.
        image: the request's file; its candidates are computed again at the sheet's size.
        augmentations: the bundle's set.

    Returns:
        An RGB image: a title, a row of candidates, a row of alternates.
    """
    pixels = decode(image, CELL_PX).pixels
    cells: list[Cell] = [
        (Image.fromarray(augmentations[score.name].apply(pixels)), score.name, score)
        for score in answer.candidates
    ]
    others: list[Cell] = [
        (_from_base64(score.thumbnail), _short(score.path), score)
        for score in answer.alternates
        if score.thumbnail
    ]
    rows = [*_chunks(cells), *_chunks(others)]
    columns = max(len(row) for row in rows)
    step_y = CELL_PX + CAPTION_PX + MARGIN_PX
    width = MARGIN_PX + columns * (CELL_PX + MARGIN_PX)
    sheet = Image.new("RGB", (width, TITLE_PX + len(rows) * step_y), PAPER)
    draw = ImageDraw.Draw(sheet)
    _title(draw, answer, width)
    for y, row in enumerate(rows):
        for x, (cell, name, score) in enumerate(row):
            left, top = MARGIN_PX + x * (CELL_PX + MARGIN_PX), TITLE_PX + y * step_y
            sheet.paste(cell, (left, top))
            _caption(draw, answer, name, score, left, top)
    return sheet


def _chunks(cells: list[Cell]) -> list[list[Cell]]:
    return [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]


def _title(draw: ImageDraw.ImageDraw, answer: Answer, width: int) -> None:
    context = ", ".join(str(value) for value in answer.context.values())
    heading = f"{answer.target} ({answer.direction})" + (f" for {context}" if context else "")
    draw.text((MARGIN_PX, 14), heading, INK, font=_font(24))
    verdicts = [answer.verdict, answer.alternate_verdict]
    lines = [line for each in verdicts if each for line in _wrapped(draw, each.text, width)]
    draw.multiline_text((MARGIN_PX, 46), "\n".join(lines[:TITLE_LINES]), MUTED, font=_font(15))


def _wrapped(draw: ImageDraw.ImageDraw, text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        fits = draw.textlength(longer, font=_font(15)) < width - 2 * MARGIN_PX
        lines = [*lines[:-1], longer] if fits else [*lines, word]
    return lines


def _caption(
    draw: ImageDraw.ImageDraw, answer: Answer, name: str, score: Score, left: int, top: int
) -> None:
    is_original = isinstance(score, CandidateScore) and score.name == ORIGINAL
    best = isinstance(score, CandidateScore) and score.name == answer.best_candidate.name
    frame = GOOD if best else "#d5dae0"
    box = (left - 1, top - 1, left + CELL_PX, top + CELL_PX)
    draw.rectangle(box, outline=frame, width=4 if best else 1)
    draw.text((left, top + CELL_PX + 6), name, INK, font=_font(16))
    low, high = score.interval
    digits = decimals(score.interval)
    text = f"{score.probability:.{digits}%}  ({low:.{digits}%} to {high:.{digits}%})"
    draw.text((left, top + CELL_PX + 28), text, INK, font=_font(15))
    if is_original:
        return
    low, high = score.difference_interval
    text = f"{100 * low:+.{digits}f} to {100 * high:+.{digits}f} points"
    draw.text((left, top + CELL_PX + 48), text, _colour(score, answer), font=_font(15))


def _colour(score: Score, answer: Answer) -> str:
    """Return green for what is better with 95 % confidence, red for what is worse, else grey."""
    low, high = score.difference_interval
    if answer.direction == "minimize":
        low, high = -high, -low
    return GOOD if score.better else BAD if high < 0 else MUTED


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _short(path: str) -> str:
    name = path.rsplit("/", 1)[-1].rsplit(".", 1)[0]
    return name if len(name) <= 26 else name[:25] + "…"


def _from_base64(text: str | None) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text or "")), formats=("JPEG",))
    return image.convert("RGB").resize((CELL_PX, CELL_PX), Image.Resampling.BICUBIC)
