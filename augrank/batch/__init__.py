"""Batch scoring: the answers for a catalogue as one Parquet file, resumable.

    folder or manifest ─ items ─ shards ─ executor ─ OUT.partial/000000.parquet ... ─ OUT
    job.py                       shard_scorer.py  executors.py  shards.py

Images that cannot be answered are listed and skipped. Shards are written atomically: an
interrupted job resumes with the missing ones. A different bundle, other images or other options
make a different job. Needs the extra ``bulk``.
"""

from augrank.batch.executors import ExecutorName
from augrank.batch.job import (
    Item,
    Items,
    ScoringJob,
    check_context,
    items_of_folder,
    items_of_manifest,
)
from augrank.batch.run import ScoreSummary, score
from augrank.manifest.parquet_file import is_parquet

__all__ = [
    "ExecutorName",
    "Item",
    "Items",
    "ScoreSummary",
    "ScoringJob",
    "check_context",
    "is_parquet",
    "items_of_folder",
    "items_of_manifest",
    "score",
]
