"""What is known of instance types beforehand: cores, memory, GPUs, prices, the seeds' figures."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from augrank.errors import BadRequest, one_of

DATA = Path(__file__).parent / "data"
PRICES = DATA / "prices.csv"
SEEDS_IMAGES, SEEDS_EPOCHS = 32_370, 10


@dataclass(frozen=True)
class InstanceType:
    """One row of the table."""

    name: str
    vcpu: int
    memory_gb: float
    gpus: int
    gpu: str  # what kind
    trains: bool  # whether SageMaker's training jobs run on it
    serves: bool  # whether endpoints do

    @property
    def family(self) -> str:
        """``ml.c5`` of ``ml.c5.xlarge``."""
        return self.name.rsplit(".", 1)[0]

    @property
    def units(self) -> int:
        """What it has more of than smaller ones of its family: GPUs, or else cores."""
        return self.gpus or self.vcpu


@dataclass(frozen=True)
class SeedFigure:
    """What the first experiments saw on a type."""

    type: str
    hours: float | None
    images_per_s: float


def instance_types() -> dict[str, InstanceType]:
    """All that are known, by name."""
    return {
        row["type"]: InstanceType(
            row["type"], int(row["vcpu"]), float(row["memory_gb"]), int(row["gpus"]), row["gpu"],
            row["trains"] == "yes", row["serves"] == "yes",
        )
        for row in _rows(DATA / "types.csv")
    }  # fmt: skip


def chosen_types(names: str) -> list[InstanceType]:
    """Comma-separated names, or ``all``, or families such as ``ml.c5``.

    Raises:
        BadRequest: one that is not known.
    """
    known = instance_types()
    if names == "all":
        return list(known.values())
    found: dict[str, InstanceType] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        of_family = {key: value for key, value in known.items() if name in (key, value.family)}
        if not of_family:
            raise BadRequest("no such instance type", expected=one_of(known, name), got=name)
        found |= of_family
    if not found:
        raise BadRequest("there is no instance type", expected="--types ml.c5.xlarge,ml.g4dn")
    return list(found.values())


def prices(file: Path = PRICES) -> dict[str, float]:
    """USD an hour, by type.

    Raises:
        BadRequest: the file does not fit.
    """
    try:
        return {row["type"]: float(row["usd_per_hour"]) for row in _rows(file)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadRequest(
            f"{file} cannot be read: {error}", expected="CSV with the columns type,usd_per_hour"
        ) from error


def write_prices(file: Path, region: str, day: str, found: Mapping[str, float]) -> None:
    """Write a file of prices, dated."""
    text = (
        f"# On-demand prices of SageMaker, USD an hour, {region}, from AWS's price list, {day}.\n"
    )
    text += "type,usd_per_hour\n"
    text += "".join(f"{name},{price:g}\n" for name, price in sorted(found.items()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def seeds() -> list[SeedFigure]:
    """The first experiments' figures, images a second where they gave hours alone."""
    figures = []
    for row in _rows(DATA / "seeds.csv"):
        hours = float(row["hours"]) if row["hours"] else None
        given = row["images_per_s"]
        rate = float(given) if given else SEEDS_IMAGES * SEEDS_EPOCHS / (3600 * (hours or 1.0))
        figures.append(SeedFigure(row["type"], hours, rate))
    return figures


def _rows(file: Path) -> list[dict[str, str]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    kept = "\n".join(line for line in lines if not line.startswith("#"))
    return list(csv.DictReader(io.StringIO(kept)))
