"""A job from end to end: what is missing is answered shard by shard, then all is one file."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from augrank.batch.executors import Engine, engine_named
from augrank.batch.job import Item, Job, fingerprint
from augrank.batch.shards import Partial

SHARD = 64  # images


@dataclass(frozen=True)
class Outcome:
    """What a finished job gave."""

    answers: Path
    errors: Path | None  # a CSV of what could not be answered, if anything
    answered: int  # rows
    failed: int  # rows
    resumed: int  # shards that an earlier try had left


def score(
    job: Job,
    items: Sequence[Item],
    out: Path,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    """Answer every item for every target and write one Parquet file.

    Args:
        job: bundle, images, targets, options.
        items: what to answer.
        out: the Parquet file; ``OUT.errors.csv`` beside it lists what could not be answered.
        engine: ``local`` takes processes of this machine, ``ray`` the nodes of a Ray cluster, which
            must all see the bundle and the images under the same paths.
        workers: processes of one thread; by default one for each core (of the cluster).
        done: told after each shard how many items are done, and of how many.

    Raises:
        BadRequest: another process is at work on this file, or an engine is not installed.
        BundleError: the bundle or the device does not fit.
        ServerError: a worker process was killed; the next call goes on.
    """
    run, partial = engine_named(engine), Partial(out)
    shards = [items[start : start + SHARD] for start in range(0, len(items), SHARD)]
    with partial.own():
        partial.begin(fingerprint(job, items, SHARD))
        missing = {n: shard for n, shard in enumerate(shards) if not partial.has(n)}
        finished = len(items) - sum(map(len, missing.values()))
        done(finished, len(items))
        with closing(run(job, missing, workers)) as scored:  # also where Ctrl-C ends it
            for number, rows in scored:
                partial.write(number, rows)
                finished += len(shards[number])
                done(finished, len(items))
        answered, failed = partial.finish(len(shards))
    errors = partial.errors if failed else None
    return Outcome(out, errors, answered, failed, len(shards) - len(missing))
