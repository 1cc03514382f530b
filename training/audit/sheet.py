"""The likely label errors as a contact sheet."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from augrank.images.decode import decode
from training.audit.issues import Issue

CELL_PX, LINE_PX, MARGIN_PX, COLUMNS = 180, 19, 12, 8
INK, MUTED, WRONG, RIGHT = "#16202c", "#6b7785", "#b3261e", "#0a7d43"
MAX_CHARACTERS = 26


def draw_label_errors(issues: Sequence[Issue], images: Path) -> Image.Image:
    """Draw images with their given and their proposed class.

    Args:
        issues: of kind ``label``.
        images: the folder that their paths start from.
    """
    step_y, columns = CELL_PX + 3 * LINE_PX + MARGIN_PX, min(COLUMNS, len(issues))
    rows = -(-len(issues) // columns)
    size = MARGIN_PX + columns * (CELL_PX + MARGIN_PX), MARGIN_PX + rows * step_y
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, issue in enumerate(issues):
        left = MARGIN_PX + number % columns * (CELL_PX + MARGIN_PX)
        top = MARGIN_PX + number // columns * step_y
        cell = decode((images / issue.path).read_bytes(), CELL_PX).pixels
        sheet.paste(Image.fromarray(cell), (left, top))
        texts = (
            (Path(issue.path).name, MUTED),
            (f"{issue.label}: {issue.given}", WRONG),
            (f"{issue.proposed}  {issue.confidence:.1%}?", RIGHT),
        )
        for line, (text, colour) in enumerate(texts):
            y = top + CELL_PX + 3 + line * LINE_PX
            draw.text((left, y), text[:MAX_CHARACTERS], colour, font=font)
    return sheet
