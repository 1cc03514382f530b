"""Prices from AWS's own list (the Pricing API), for the types that are known here."""

import json
from collections.abc import Iterator
from typing import Any

from augrank.aws.client import Aws, AwsError
from benchmarks.instances.catalogue import instance_types

SERVICE = "AmazonSageMaker"
HOME = "us-east-1"  # one of the few regions that answer for all
# Training and hosting cost the same; the list names them apart.
COMPONENT = "Hosting"


def fetch(aws: Aws, region: str) -> dict[str, float]:
    """USD an hour, by type, on demand.

    Args:
        aws: services; the Pricing API is asked in ``HOME``.
        region: whose prices.

    Raises:
        AwsError: AWS refuses, or lists none of the known types there.
    """
    filters = [
        {"Type": "TERM_MATCH", "Field": "regionCode", "Value": region},
        {"Type": "TERM_MATCH", "Field": "component", "Value": COMPONENT},
    ]
    known, found = instance_types(), {}
    pages = aws.paginate("pricing", "get_products", ServiceCode=SERVICE, Filters=filters)
    for product in (json.loads(text) for page in pages for text in page["PriceList"]):
        name = product["product"]["attributes"].get("instanceName", "")
        for price in _hourly(product):
            if name in known:
                found[name] = price
    if not found:
        raise AwsError(f"AWS's price list has none of the types in {region}")
    return found


def _hourly(product: dict[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if price > 0 and dimension["unit"].lower().startswith("hr"):
                yield price
