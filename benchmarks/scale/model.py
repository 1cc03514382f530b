"""The measured rates of a task, and what a design of ``augrank score`` makes of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from augrank.batch.run import shard_size

BATCH_OF = 8  # images in one call of a pipeline, as augrank.batch.job.BATCH


@dataclass(frozen=True)
class Rates:
    """Seconds on one core of this machine, and sizes in bytes, for one task."""

    task: str
    engine: str  # the graph, and what runs it
    batch_s: tuple[float, ...]  # of batches of BATCH_OF images, from the files to the rows
    stages_ms: Mapping[str, float]  # of an image, medians
    embed_share: float  # of the network in an image
    image_bytes: float
    row_bytes: float  # compressed, in Parquet
    parquet_s: float  # of a row, made Parquet
    merge_s: float  # of a row, read from its shard and written to the result
    commit_s: float  # of a shard, written by the driver
    list_s: float  # of a file in a local folder
    item_s: float  # of an item: made, and its part of the fingerprint
    item_bytes: float  # memory of an item in the driver

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


@dataclass(frozen=True)
class RayRates:
    """Seconds of the driver for a shard, and of a worker's start, on this machine."""

    dispatch_s: float  # of a shard, whatever is in it
    dispatch_item_s: float  # of each item in it, with its answer
    start_s: float  # from asking for an actor until its pipeline is loaded
    data_s: float  # of a shard as a block of Ray Data, as versions before did


@dataclass(frozen=True)
class Design:
    """How ``augrank score`` shares the work out.

    Args:
        name: for tables.
        shard: images of a shard; None: as ``augrank.batch.run`` chooses.
        by_ray_data: shards are blocks of Ray Data.
        driver_encodes: the driver makes the rows Parquet.
        reads_ahead: files of the next batch are read meanwhile.
        listers: processes that list, a part of the prefixes each.
    """

    name: str = "now"
    shard: int | None = None
    by_ray_data: bool = False
    driver_encodes: bool = False
    reads_ahead: bool = True
    listers: int = 1

    def shard_images(self, images: int) -> int:
        """Return the number of images in a shard."""
        return self.shard or shard_size(images)


BEFORE = Design("before", shard=64, by_ray_data=True, driver_encodes=True, reads_ahead=False)
NOW = Design()
# One change after the other, for the table of what fails first.
STEPS = (
    BEFORE,
    Design("+ files read ahead", 64, by_ray_data=True, driver_encodes=True),
    Design("+ workers write Parquet", 64, by_ray_data=True),
    Design("+ actors instead of Ray Data", 64),
    Design("+ at most 50,000 shards", None),
    Design("+ 16 jobs, each lists a part (not built in)", None, listers=16),
)


@dataclass(frozen=True)
class DriverCosts:
    """Seconds of the one process that lists, hands out, writes and merges."""

    before_s: float  # until the first shard can be handed out
    dispatch_s: float  # of a shard
    commit_s: float  # of a shard
    after_s: float  # to merge


def driver_costs(
    rates: Rates, ray: RayRates, design: Design, images: int, listing_s: float
) -> DriverCosts:
    """Return what a design costs the driver.

    Args:
        rates: of the task.
        ray: of the driver.
        design: of ``augrank score``.
        images: of the job; a row each.
        listing_s: of a key of the store, beside the driver's own time for a file.
    """
    size = design.shard_images(images)
    listing = (listing_s + rates.list_s) / design.listers
    dispatch = ray.data_s if design.by_ray_data else ray.dispatch_s
    commit = rates.commit_s + (size * rates.parquet_s if design.driver_encodes else 0)
    return DriverCosts(
        before_s=images * (listing + rates.item_s / design.listers),
        dispatch_s=dispatch + size * ray.dispatch_item_s,
        commit_s=commit,
        after_s=images * rates.merge_s / design.listers,
    )
