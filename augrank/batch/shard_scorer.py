"""Score a shard: run its images through a task, and return answers and errors as rows.

Workers also make the rows a Parquet file, which takes several times as long as writing its bytes:
done by the one process that writes, it would bound the whole job.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from augrank.batch.columns import columns_of
from augrank.batch.job import ClassifyJob, Item, RecommendJob, ScoringJob
from augrank.batch.shards import parquet_file
from augrank.processes import use_one_thread_for_arrays

ShardEncoder = Callable[[Sequence[Item]], bytes]


class ShardScorer(Protocol):
    """Answers shards of a job, on one thread; every worker process has one."""

    def __call__(self, shard: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the rows of a shard; ``columns.py`` has their columns."""


def shard_scorer(job: ScoringJob) -> ShardScorer:
    """Load the pipeline of a job's task into this worker process.

    Raises:
        BundleError: the bundle or the device does not fit.
    """
    use_one_thread_for_arrays()
    if isinstance(job, RecommendJob):
        from augrank.batch.recommend_scorer import RecommendScorer

        return RecommendScorer(job)
    assert isinstance(job, ClassifyJob)
    from augrank.batch.classify_scorer import ClassifyScorer

    return ClassifyScorer(job)


def shard_encoder(job: ScoringJob) -> ShardEncoder:
    """Load the pipeline of a job into this worker; it answers shards with Parquet files.

    Raises:
        BundleError: the bundle or the device does not fit.
    """
    score, columns = shard_scorer(job), columns_of(job)
    return lambda shard: parquet_file(score(shard), columns)
