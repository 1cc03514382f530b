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
from augrank.tasks.recommend.response import Answer

BATCH = 8  # images in one call of the pipeline
_FIGURES = ("probability", "difference", "lift")
_SCORE = [(name, pa.float64()) for name in _FIGURES]
SCHEMA = pa.schema(
    [
        ("item", pa.int64()),  # its number in the folder or the manifest
        (PATH, pa.string()),
        ("target", pa.string()),
        ("direction", pa.string()),
        ("context", pa.string()),  # JSON
        ("probability", pa.float64()),
        ("best_candidate", pa.string()),
        ("best_probability", pa.float64()),
        ("candidates", pa.list_(pa.struct([("name", pa.string()), *_SCORE]))),
        ("alternates", pa.list_(pa.struct([("path", pa.string()), *_SCORE]))),
        ("verdict", pa.string()),
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
            try:
                image = (job.images / item.path).read_bytes()
            except OSError as error:
                rows += [
                    _failed(item, target, f"the file cannot be read: {error.strerror}")
                    for target in job.targets
                ]
                continue
            for target in job.targets:
                sources.append((item, target))
                requests.append(
                    Request(image, target, item.context, job.candidates, job.alternates)
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
        "best_candidate": answer.best_candidate.name,
        "best_probability": answer.best_candidate.probability,
        "candidates": [
            {"name": c.name, **{key: getattr(c, key) for key in _FIGURES}}
            for c in answer.candidates
        ],
        "alternates": [
            {"path": a.path, **{key: getattr(a, key) for key in _FIGURES}}
            for a in answer.alternates
        ],
        "verdict": answer.verdict,
        "sha256": answer.image.sha256,
        "bundle_version": answer.bundle_version,
        "error": None,
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
