"""Batch scoring: the answers for a catalogue as one Parquet file, resumable.

    folder or manifest ─ items ─ shards ─ executor ─ OUT.partial/000000.parquet ... ─ OUT
    job.py                       shard_scorer.py  executors.py  shards.py

Images that cannot be answered are listed and skipped. Shards are written atomically: an
interrupted job resumes with the missing ones. A different bundle, other images or other options
make a different job. Needs the extra ``bulk``.
"""

from augrank.batch.executors import ExecutorName
from augrank.batch.job import Item, ScoringJob, items_of_folder, items_of_manifest
from augrank.batch.run import ScoreSummary, score

__all__ = [
    "ExecutorName",
    "Item",
    "ScoreSummary",
    "ScoringJob",
    "items_of_folder",
    "items_of_manifest",
    "score",
]
