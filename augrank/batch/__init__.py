"""A whole catalogue's answers as one Parquet file: resumable, bad images listed and skipped.

    folder or manifest ─ items ─ shards ─ engine ─ OUT.partial/000000.parquet ... ─ OUT
    job                          scoring  engines   files

A shard is written whole or not at all. A job that was interrupted goes on with the shards that are
missing; one with another bundle, other images or other options is another job. Needs the extra
``bulk``.
"""

from augrank.batch.executors import Engine
from augrank.batch.job import Item, Job, items_of_folder, items_of_manifest
from augrank.batch.run import Outcome, score

__all__ = ["Engine", "Item", "Job", "Outcome", "items_of_folder", "items_of_manifest", "score"]
