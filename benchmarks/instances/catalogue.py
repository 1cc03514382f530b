"""Known data of instance types: sizes, prices, and the source's own table."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augrank.aws.client import Aws, AwsError
from augrank.errors import BadRequest, one_of

DATA = Path(__file__).parent / "data"
PRICES = DATA / "prices.csv"
# The source's table gives only hours. Images per second assume its whole data set (16,185 images,
# doubled by augmentation) and its 10 epochs; it does not name the backbone.
SEED_IMAGES, SEED_EPOCHS = 32_370, 10
SEED_ASSUMPTION = f"assuming {SEED_EPOCHS} epochs of {SEED_IMAGES:,} images"

PRICING_SERVICE = "AmazonSageMaker"
PRICING_REGION = "us-east-1"  # one of the few regions whose Pricing API covers all regions
# Training and hosting cost the same; the price list has both.
PRICING_COMPONENT = "Hosting"


@dataclass(frozen=True)
class InstanceType:
    """One row of the table of instance types."""

    name: str
    vcpu: int
    memory_gb: float
    gpus: int
    gpu: str  # GPU model
    trains: bool  # whether SageMaker's training jobs run on it
    serves: bool  # whether SageMaker's endpoints run on it

    @property
    def family(self) -> str:
        """The family, such as ``ml.c5`` of ``ml.c5.xlarge``."""
        return self.name.rsplit(".", 1)[0]

    @property
    def units(self) -> int:
        """The unit by which the family scales: number of GPUs, or else of vCPUs."""
        return self.gpus or self.vcpu


@dataclass(frozen=True)
class SeedFigure:
    """One row of the source's table, with corrected name and size."""

    type: str
    vcpu: int
    memory_gb: float
    gpus: int
    hours: float  # as printed
    images_per_s: float  # follows from hours under SEED_ASSUMPTION
    printed_name: str
    printed_size: str  # if it differs from the corrected one: vCPU, GB, GPUs

    @property
    def units(self) -> int:
        """GPUs, or else vCPUs."""
        return self.gpus or self.vcpu


def instance_types() -> dict[str, InstanceType]:
    """Return all known instance types, by name."""
    return {
        row["type"]: InstanceType(
            row["type"],
            int(row["vcpu"]),
            float(row["memory_gb"]),
            int(row["gpus"]),
            row["gpu"],
            row["trains"] == "yes",
            row["serves"] == "yes",
        )
        for row in _rows(DATA / "types.csv")
    }


def chosen_types(names: str) -> list[InstanceType]:
    """Parse comma-separated types or families (``ml.c5``), or ``all``.

    Raises:
        BadRequest: a name is unknown.
    """
    types = instance_types()
    if names == "all":
        return list(types.values())
    chosen: dict[str, InstanceType] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        matches = {key: value for key, value in types.items() if name in (key, value.family)}
        if not matches:
            raise BadRequest("unknown instance type", expected=one_of(types, name), got=name)
        chosen |= matches
    if not chosen:
        raise BadRequest("there is no instance type", expected="--types ml.c5.xlarge,ml.g4dn")
    return list(chosen.values())


def seeds() -> list[SeedFigure]:
    """Return the source's table."""
    return [_seed_figure(row) for row in _rows(DATA / "seeds.csv")]


def prices(file: Path = PRICES) -> dict[str, float]:
    """Read prices in USD per hour, by type.

    Raises:
        BadRequest: the file does not have the expected columns.
    """
    try:
        return {row["type"]: float(row["usd_per_hour"]) for row in _rows(file)}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise BadRequest(
            f"{file} cannot be read: {error}", expected="CSV with the columns type,usd_per_hour"
        ) from error


def write_prices(file: Path, region: str, day: str, usd_per_hour: Mapping[str, float]) -> None:
    """Write a file of prices, with region and date in a comment."""
    text = (
        f"# On-demand prices of SageMaker, USD per hour, {region}, from AWS's price list, {day}.\n"
    )
    text += "type,usd_per_hour\n"
    text += "".join(f"{name},{price:g}\n" for name, price in sorted(usd_per_hour.items()))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def fetch_prices(aws: Aws, region: str) -> dict[str, float]:
    """Fetch on-demand prices in USD per hour, by type, from AWS's Pricing API.

    Args:
        aws: services of ``PRICING_REGION``.
        region: the region whose prices are fetched.

    Raises:
        AwsError: AWS refused, or lists none of the known types there.
    """
    filters = [
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": region},
        {"Type": "TERM_MATCH", "Field": "component", "Value": PRICING_COMPONENT},
    ]
    types, found = instance_types(), {}
    pages = aws.paginate("pricing", "get_products", ServiceCode=PRICING_SERVICE, Filters=filters)
    for product in (json.loads(text) for page in pages for text in page["PriceList"]):
        name = product["product"]["attributes"].get("instanceName", "")
        for price in _hourly_prices(product):
            if name in types:
                found[name] = price
    if not found:
        raise AwsError(f"AWS's price list has none of the types in {region}")
    return found


def _hourly_prices(product: Mapping[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price > 0 and dimension["unit"].lower().startswith("hr"):
                yield price


def _seed_figure(row: Mapping[str, str]) -> SeedFigure:
    hours = float(row["hours"])
    printed = (row["printed_vcpu"], row["printed_memory_gb"], row["printed_gpus"])
    return SeedFigure(
        type=row["type"],
        vcpu=int(row["vcpu"]),
        memory_gb=float(row["memory_gb"]),
        gpus=int(row["gpus"]),
        hours=hours,
        images_per_s=SEED_IMAGES * SEED_EPOCHS / (3600 * hours),
        printed_name=row["printed_name"],
        printed_size="{} vCPU, {} GB, {} GPUs".format(*printed) if any(printed) else "",
    )


def _rows(file: Path) -> list[dict[str, str]]:
    lines = file.read_text(encoding="utf-8").splitlines()
    content = "\n".join(line for line in lines if not line.startswith("#"))
    return list(csv.DictReader(io.StringIO(content)))
