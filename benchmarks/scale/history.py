"""What a history of a billion sends costs to train from: reading, embedding, rows that differ."""

from typing import Any

from benchmarks.instances.catalogue import instance_types, prices
from benchmarks.scale.model import Rates

SENDS = 1_000_000_000
IMAGES = 100_000  # stated: distinct originals of the history
CONTEXTS = 100  # stated: distinct contexts of an image and augmentation
AUGMENTATIONS = 6
# Measured with manifests of 31 columns, one and ten million rows (CHANGELOG.md).
READ_S_PER_MILLION = 12.0
MILLION_GB, TEN_MILLIONS_GB = 0.84, 2.3


def history(rates: Rates) -> dict[str, Any]:
    """Return hours, memory and dollars, on the cheapest type whose memory holds the manifest.

    Args:
        rates: of the task ``recommend``; its stages give the embedding of an image's candidates.
    """
    hours = SENDS / 1e6 * READ_S_PER_MILLION / 3600
    slope_gb = (TEN_MILLIONS_GB - MILLION_GB) / 9  # for a million more
    memory_gb = MILLION_GB + (SENDS / 1e6 - 1) * slope_gb
    known = prices()
    fitting = [
        each
        for each in instance_types().values()
        if each.memory_gb > memory_gb and each.name in known
    ]
    cheapest = min(fitting, key=lambda each: known[each.name])
    stages = rates.stages_ms
    image_s = sum(stages.get(name, 0.0) for name in ("decode", "augment", "embed")) / 1000
    embedding_hours = IMAGES * image_s / cheapest.vcpu / 3600
    whole = hours + embedding_hours
    return {
        "sends": SENDS,
        "images": IMAGES,
        "different": IMAGES * AUGMENTATIONS * CONTEXTS * 2,  # for each outcome, 0 or 1
        "read_hours": hours,
        "memory_gb": memory_gb,
        "type": cheapest.name,
        "type_memory_gb": cheapest.memory_gb,
        "vcpu": cheapest.vcpu,
        "embedding_hours": embedding_hours,
        "hours": whole,
        "usd": whole * known[cheapest.name],
        "read_usd": hours * known[cheapest.name],
        "parts_of_10_million_hours": hours / 100,
    }
