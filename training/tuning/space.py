"""The search space: ranges and choices of ``fit``'s options.

``seeds`` and ``grid`` follow the source documents (see ``SPACES``). A custom space is a YAML file::

    learning_rate: {low: 0.01, high: 0.3, log: true}
    epochs: {low: 5, high: 15, integer: true}
    backbone: [resnet18, resnet34]
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError, model_validator

from augrank.contracts.validation import first_fault
from augrank.errors import DataError, one_of, reason
from training.config import FitConfig

# Options that change how the backbone is trained, not its data.
TUNABLE = (
    "backbone",
    "epochs",
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "schedule",
    "flip",
)
Value = str | int | float | bool


class Range(BaseModel, frozen=True, extra="forbid"):
    """Numbers from low to high, both included."""

    low: float
    high: float
    log: bool = False  # sampled uniformly in the logarithm
    integer: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 if log is true")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("low and high must be whole numbers if integer is true")
        return self

    @property
    def bounds(self) -> tuple[Value, ...]:
        """The lowest and the highest value."""
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)


@dataclass(frozen=True)
class Space:
    """Options by name: a range to sample from, or values to choose from."""

    name: str
    options: Mapping[str, Range | tuple[Value, ...]]

    @property
    def is_grid(self) -> bool:
        """Whether the space has choices only, so that every combination can be tried."""
        return not any(isinstance(option, Range) for option in self.options.values())

    def combinations(self) -> Iterator[dict[str, Value]]:
        """Yield every combination of a grid."""
        values = [option for option in self.options.values() if not isinstance(option, Range)]
        for combination in itertools.product(*values):
            yield dict(zip(self.options, combination, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return the space as it is written in a file."""
        return {
            name: option.model_dump() if isinstance(option, Range) else list(option)
            for name, option in self.options.items()
        }

    def check(self, config: FitConfig) -> None:
        """Check that ``fit`` accepts the bounds of every range and every choice.

        Raises:
            DataError: it rejects one of them, or there is nothing to compare trials by.
        """
        if config.ranks and config.labels is None and not config.quantiles:
            raise DataError(
                "a search compares labels, and there are none",
                expected="--set labels or --set quantiles, beside ranks",
                got=f"ranks {', '.join(config.ranks)}",
                remedy="Divide the scores into classes: --set quantiles='{"
                + f"{config.ranks[0]}: 3"
                + "}'.",
            )
        for name, option in self.options.items():
            for value in option.bounds if isinstance(option, Range) else option:
                try:
                    FitConfig.model_validate({**config.model_dump(), name: value})
                except ValidationError as error:
                    raise DataError(
                        f"{name} of the space {self.name} is not valid",
                        expected=first_fault(error).expected,
                        got=repr(value),
                    ) from error


DEPTHS = ("resnet18", "resnet34", "resnet50")
SMALL = ("mobilenet_v3_large", "efficientnet_lite0")
EPOCHS = (5, 10, 15)
# What the source documents search. "Image Optimization Model" (Lau, 2022) tunes learning rate and
# weight decay; "Review Image Inspection" tries 18, 34 and 50 layers with 5, 10 and 15 epochs. No
# document gives the ranges of the two rates, nor names an integer option: those ranges and
# batch_size are augrank's choice.
SPACES = {
    space.name: space
    for space in (
        Space(
            "seeds",
            {
                "learning_rate": Range(low=0.005, high=0.5, log=True),
                "weight_decay": Range(low=1e-5, high=1e-2, log=True),
                "batch_size": Range(low=16, high=128, log=True, integer=True),
                "epochs": EPOCHS,
                "backbone": DEPTHS,
            },
        ),
        Space("grid", {"epochs": EPOCHS, "backbone": DEPTHS}),
        # The grid, and the small networks that it is compared with.
        Space("backbones", {"epochs": EPOCHS, "backbone": (*DEPTHS, *SMALL)}),
    )
}


def load_space(name: str) -> Space:
    """Return a space by its name, or read it from a YAML file.

    Raises:
        DataError: there is no such space, or it is not valid.
    """
    if name in SPACES:
        return SPACES[name]
    file = Path(name)
    if not file.is_file():
        raise DataError("no such space", expected=f"{one_of(SPACES, name)}, or a file", got=name)
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        options = TypeAdapter(dict[str, Range | tuple[Value, ...]]).validate_python(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(
            f"{file} cannot be read", expected="a YAML file of options", got=reason(error)
        ) from error
    except ValidationError as error:
        fault = first_fault(error)
        raise DataError(
            f"{file} is not valid at {fault.name.split('.')[0]}",
            expected=f"{{low: .., high: ..}} or a list ({fault.expected})",
            got=repr(fault.value),
        ) from error
    for option in options:
        if option not in TUNABLE:
            raise DataError(
                f"{option} cannot be tuned", expected=one_of(TUNABLE, option), got=option
            )
    if not options or any(option == () for option in options.values()):
        raise DataError(f"{file} has nothing to search", expected="an option with its values")
    return Space(file.stem, options)
