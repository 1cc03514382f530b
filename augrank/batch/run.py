"""Run a scoring job: answer the missing shards, then merge all of them into one file."""

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from augrank.batch.columns import columns_of
from augrank.batch.executors import ExecutorName, executor_named
from augrank.batch.job import BATCH, Item, ScoringJob, fingerprint
from augrank.batch.shards import Partial

SHARD_STEP, MOST_SHARD = BATCH, 64  # images
SHARDS = 64  # of a small job, so that workers end together
MOST_SHARDS = 50_000  # of any job: each costs the one process that hands it out and writes it


@dataclass(frozen=True)
class ScoreSummary:
    """The files of a finished job and their numbers of rows."""

    answers: Path
    errors: Path | None  # a CSV of the items that could not be answered, if any
    answered: int  # rows
    failed: int  # rows
    resumed: int  # shards kept from an interrupted run
    first_error: str | None = None  # message of the first item that could not be answered


def score(
    job: ScoringJob,
    items: Sequence[Item],
    out: Path,
    *,
    executor: ExecutorName = "local",
    workers: int | None = None,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> ScoreSummary:
    """Answer every item for every target and write one Parquet file.

    Args:
        job: bundle, images, targets, options.
        items: images and contexts to score.
        out: the Parquet file; ``OUT.errors.csv`` beside it lists items that could not be answered.
        executor: ``local`` uses processes of this machine, ``ray`` the nodes of a Ray cluster,
            which must all see the bundle and the images under the same paths.
        workers: processes of one thread; by default one per core (of the cluster).
        done: called after each shard with the number of finished items and of all items.

    Raises:
        BadRequest: another process is writing this file, or the executor is not installed.
        BundleError: the bundle or the device does not fit.
        ServerError: a worker process was killed; run it again to resume.
    """
    run, partial = executor_named(executor), Partial(out, columns_of(job))
    size = shard_size(len(items))
    shards = [items[start : start + size] for start in range(0, len(items), size)]
    with partial.lock():
        partial.begin(fingerprint(job, items, size))
        missing = {n: shard for n, shard in enumerate(shards) if not partial.has(n)}
        finished = len(items) - sum(map(len, missing.values()))
        done(finished, len(items))
        with closing(run(job, missing, workers)) as scored:  # also if Ctrl-C ends it
            for number, content in scored:
                partial.write(number, content)
                finished += len(shards[number])
                done(finished, len(items))
        merged = partial.finish(len(shards))
    return ScoreSummary(
        out,
        partial.errors if merged.failed else None,
        merged.answered,
        merged.failed,
        len(shards) - len(missing),
        merged.first_error,
    )


def shard_size(items: int) -> int:
    """Return the number of items in a shard: small ones, unless there would be too many."""
    size = min(MOST_SHARD, _in_steps(items / SHARDS))
    return size if items <= size * MOST_SHARDS else _in_steps(items / MOST_SHARDS)


def _in_steps(items: float) -> int:
    return max(1, math.ceil(items / SHARD_STEP)) * SHARD_STEP
