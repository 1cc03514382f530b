"""Score a shard: run its images through a task, and return answers and errors as rows."""

from collections.abc import Sequence
from typing import Any, Protocol

from augrank.batch.job import ClassifyJob, Item, RecommendJob, ScoringJob
from augrank.processes import use_one_thread_for_arrays


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
