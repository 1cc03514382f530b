"""Score a shard: run its images through the pipeline, and return answers and errors as rows."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from augrank.batch.job import Item, ScoringJob
from augrank.contracts.manifest import PATH
from augrank.models.head import import_xgboost_without_sklearn
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import Request
from augrank.tasks.recommend.response import Answer, Score

BATCH = 8  # images in one call of the pipeline
# The fields of an option. Intervals have a column for each end.
_SCORE = [
    ("probability", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("difference", pa.float64()),
    ("difference_low", pa.float64()),
    ("difference_high", pa.float64()),
    ("lift", pa.float64()),
    ("better", pa.bool_()),
]
_VERDICT = [
    ("kind", pa.string()),  # change, keep or unsure
    ("choice", pa.string()),
    ("sends", pa.int64()),
    ("lift", pa.float64()),
    ("text", pa.string()),
]
SCHEMA = pa.schema(
    [
        ("item", pa.int64()),  # its number in the folder or the manifest
        (PATH, pa.string()),
        ("target", pa.string()),
        ("direction", pa.string()),
        ("context", pa.string()),  # JSON
        ("probability", pa.float64()),
        ("low", pa.float64()),  # of its 90 % interval
        ("high", pa.float64()),
        ("best_candidate", pa.string()),
        ("best_probability", pa.float64()),
        ("candidates", pa.list_(pa.struct([("name", pa.string()), *_SCORE]))),
        ("alternates", pa.list_(pa.struct([("path", pa.string()), *_SCORE]))),
        ("verdict", pa.struct(_VERDICT)),
        ("alternate_verdict", pa.struct(_VERDICT)),
        ("sha256", pa.string()),
        ("bundle_version", pa.string()),
        ("error", pa.string()),  # the message, if there is no answer
    ]
)


class ShardScorer:
    """Answers shards of a job, on one thread; every worker process has one."""

    def __init__(self, job: ScoringJob, threads: int = 1) -> None:
        self._job = job
        import_xgboost_without_sklearn()
        self._recommender = Recommender.load(job.bundle, threads=threads, device=job.device)

    def __call__(self, shard: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the rows of a shard, in the columns of SCHEMA."""
        rows = []
        for start in range(0, len(shard), BATCH):
            rows += self._answer(shard[start : start + BATCH])
        return rows

    def _answer(self, items: Sequence[Item]) -> list[dict[str, Any]]:
        job = self._job
        sources: list[tuple[Item, str]] = []  # of each request
        requests: list[Request] = []
        rows = []
        for item in items:
            error = item.error
            image = b""
            if error is None:
                try:
                    image = (job.images / item.path).read_bytes()
                except OSError as fault:
                    error = f"the file cannot be read: {fault.strerror}"
            if error is not None:
                rows += [_failed(item, target, error) for target in job.targets]
                continue
            for target in job.targets:
                sources.append((item, target))
                requests.append(
                    Request(
                        image,
                        target,
                        item.context,
                        job.candidates,
                        job.alternates,
                        augmentation=item.augmentation,
                        min_lift=job.min_lift,
                    )
                )
        answers = self._recommender.recommend_batch(requests)
        for (item, target), answer in zip(sources, answers, strict=True):
            if isinstance(answer, Answer):
                rows.append(_answered(item, answer))
            else:
                rows.append(_failed(item, target, str(answer)))
        return sorted(rows, key=lambda row: row["item"])


def _answered(item: Item, answer: Answer) -> dict[str, Any]:
    return {
        "item": item.number,
        PATH: item.path,
        "target": answer.target,
        "direction": answer.direction,
        "context": json.dumps(dict(item.context), default=str),
        "probability": answer.probability,
        "low": answer.interval[0],
        "high": answer.interval[1],
        "best_candidate": answer.best_candidate.name,
        "best_probability": answer.best_candidate.probability,
        "candidates": [{"name": c.name, **_score(c)} for c in answer.candidates],
        "alternates": [{"path": a.path, **_score(a)} for a in answer.alternates],
        "verdict": answer.verdict.model_dump(),
        "alternate_verdict": answer.alternate_verdict and answer.alternate_verdict.model_dump(),
        "sha256": answer.image.sha256,
        "bundle_version": answer.bundle_version,
        "error": None,
    }


def _score(score: Score) -> dict[str, Any]:
    return {
        "probability": score.probability,
        "low": score.interval[0],
        "high": score.interval[1],
        "difference": score.difference,
        "difference_low": score.difference_interval[0],
        "difference_high": score.difference_interval[1],
        "lift": score.lift,
        "better": score.better,
    }


def _failed(item: Item, target: str, message: str) -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    context = json.dumps(dict(item.context), default=str)
    return {
        **empty,
        "item": item.number,
        PATH: item.path,
        "target": target,
        "context": context,
        "error": message,
    }
