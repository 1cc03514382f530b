"""Read the images of a shard, the next batch while one is answered.

On a file system over a network, such as a mounted S3 bucket, a file takes tens of milliseconds to
arrive however small it is: one after the other, workers would wait longer than they compute.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from augrank.batch.job import BATCH, Item
from augrank.errors import ImageTooLarge
from augrank.images.decode import read_image


@dataclass(frozen=True)
class ReadItem:
    """An item and the content of its file, or why there is none."""

    item: Item
    image: bytes
    error: str | None


def read_ahead(shard: Sequence[Item], images: Path) -> Iterator[list[ReadItem]]:
    """Yield the items of a shard in batches of ``BATCH``, with the content of their files.

    Args:
        shard: items, in order.
        images: the folder that their paths are relative to.
    """
    starts = range(0, len(shard), BATCH)
    with ThreadPoolExecutor(BATCH, "read") as pool:

        def ask(start: int) -> list[Future[ReadItem]]:
            return [pool.submit(_read, item, images) for item in shard[start : start + BATCH]]

        coming = ask(0)
        for start in starts:
            batch = [future.result() for future in coming]
            coming = ask(start + BATCH)
            yield batch


def _read(item: Item, images: Path) -> ReadItem:
    if item.error is not None:
        return ReadItem(item, b"", item.error)
    try:
        return ReadItem(item, read_image(images / item.path), None)
    except OSError as fault:
        return ReadItem(item, b"", f"the file cannot be read: {fault.strerror}")
    except ImageTooLarge as fault:
        return ReadItem(item, b"", str(fault))
