"""Targets: the predicted outcomes, and whether high or low is good."""

import re
from typing import Literal

from pydantic import BaseModel

from augrank.errors import DataError

Direction = Literal["maximize", "minimize"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# The standard targets. The direction of any other name is given in the config.
TARGETS: dict[str, Direction] = {
    "open_rate": "maximize",
    "click_to_open_rate": "maximize",
    "conversion_rate": "maximize",
    "revenue_per_email": "maximize",
    "purchase_rate": "maximize",
    "unsubscribe_rate": "minimize",
    "bounce_rate": "minimize",
    "click_through": "maximize",
    "abandoned_cart": "minimize",
}
# Other names of standard targets in the documents that the project follows ("Image Optimization
# Model", Lau, 2022; "Data Augmentation Model", Yoon, 2022). A target keeps its name and has the
# direction of the standard one.
TARGET_ALIASES: dict[str, str] = {
    "unsubscribed": "unsubscribe_rate",
    "unsubscribe": "unsubscribe_rate",
    "bounce": "bounce_rate",
    "bounced": "bounce_rate",
    "ctor": "click_to_open_rate",
    "click_through_open_rate": "click_to_open_rate",
    "click_through_rate": "click_through",
    "conversion": "conversion_rate",
    "purchase": "purchase_rate",
    "revenue_generated_per_email": "revenue_per_email",
    "revenue_per_e_mail": "revenue_per_email",
}


class Target(BaseModel, frozen=True):
    """A target's name and direction."""

    name: str
    direction: Direction


def resolve_target(name: str, directions: dict[str, Direction] | None = None) -> Target:
    """Return the target of this name.

    The direction is the given one, else that of the standard target of this name or alias; any
    other target is to be maximised.

    Raises:
        DataError: the name cannot be used as a file name.
    """
    if not NAME.fullmatch(name):
        raise DataError(
            "the target's name cannot be used",
            expected="letters, digits, - _ and ., at most 64",
            got=repr(name),
            remedy="Map the column to another name: --column NAME=COLUMN.",
        )
    standard = TARGET_ALIASES.get(name, name)
    direction = (directions or {}).get(name) or TARGETS.get(standard, "maximize")
    return Target(name=name, direction=direction)
