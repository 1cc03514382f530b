"""Batch scoring: the answers for a catalogue as one Parquet file, resumable.

    folder or manifest ─ items ─ shards ─ executor ─ OUT.partial/000000.parquet ... ─ OUT
    job.py                       shard_scorer.py  executors.py  shards.py
                                                  ray_actors.py

Images that cannot be answered are listed and skipped. Shards are written atomically: an
interrupted job resumes with the missing ones. A different bundle, other images or other options
make a different job. Needs the extra ``bulk``.
"""
