"""Score a shard of the task ``recommend``: a row for each image, context and target."""

import json
from collections.abc import Sequence
from typing import Any

from augrank.batch.job import Item, RecommendJob
from augrank.batch.read_ahead import ReadItem, read_ahead
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.contracts.manifest import PATH
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import Request
from augrank.tasks.recommend.response import Answer, Score


class RecommendScorer:
    """Answers shards of a job, on one thread; every worker process has one."""

    def __init__(self, job: RecommendJob, threads: int = 1) -> None:
        self._job = job
        bundle = load_bundle(job.bundle, RecommendSpec)
        # Every row of a job comes from one graph, on whatever machine it is computed.
        precision = job.precision or bundle.spec.preferred
        self._recommender = Recommender(
            bundle, threads=threads, precision=precision, device=job.device
        )

    def __call__(self, shard: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the rows of a shard; ``columns.py`` has their columns."""
        rows = []
        for batch in read_ahead(shard, self._job.images):
            rows += self._answer(batch)
        return rows

    def _answer(self, items: Sequence[ReadItem]) -> list[dict[str, Any]]:
        job = self._job
        sources: list[tuple[Item, str]] = []  # of each request
        requests: list[Request] = []
        rows = []
        for read in items:
            item = read.item
            if read.error is not None:
                rows += [_failed(item, target, read.error) for target in job.targets]
                continue
            for target in job.targets:
                sources.append((item, target))
                requests.append(
                    Request(
                        read.image,
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
        "engine": answer.engine,
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
    context = json.dumps(dict(item.context), default=str)
    return {
        "item": item.number,
        PATH: item.path,
        "target": target,
        "context": context,
        "error": message,
    }
