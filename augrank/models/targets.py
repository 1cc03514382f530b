"""What is predicted, and which way is better."""

import re
from typing import Literal

from pydantic import BaseModel

from augrank.errors import DataError

Direction = Literal["maximize", "minimize"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
# The standard targets. Any other name is a user's own; its direction is then given in the config.
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


class Target(BaseModel, frozen=True):
    """A target's name and direction."""

    name: str
    direction: Direction


def resolve_target(name: str, directions: dict[str, Direction] | None = None) -> Target:
    """The target of this name; a name of the user's own is maximised unless told otherwise.

    Raises:
        DataError: the name cannot be that of a file.
    """
    if not NAME.fullmatch(name):
        raise DataError(
            "the target's name does not fit",
            expected="letters, digits, - _ and ., at most 64",
            got=repr(name),
            remedy="Map the column to another name: --column NAME=COLUMN.",
        )
    direction = (directions or {}).get(name) or TARGETS.get(name, "maximize")
    return Target(name=name, direction=direction)
