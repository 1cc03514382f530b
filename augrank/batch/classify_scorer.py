"""Score a shard of the task ``classify``: a row for each image."""

from collections.abc import Sequence
from typing import Any

from augrank.batch.job import CONFIGURED, REVIEW_KIND, ClassifyJob, Item
from augrank.batch.read_ahead import ReadItem, read_ahead
from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.contracts.manifest import PATH
from augrank.errors import AugrankError
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import Request
from augrank.tasks.classify.response import Answer, ImageAnswer


class ClassifyScorer:
    """Answers shards of a job, on one thread; every worker process has one."""

    def __init__(self, job: ClassifyJob, threads: int = 1) -> None:
        self._job = job
        bundle = load_bundle(job.bundle, ClassifySpec)
        # Every row of a job comes from one graph, on whatever machine it is computed.
        precision = job.precision or bundle.spec.preferred
        self._classifier = Classifier(
            bundle, threads=threads, precision=precision, device=job.device
        )

    def __call__(self, shard: Sequence[Item]) -> list[dict[str, Any]]:
        """Return the rows of a shard; ``columns.py`` has their columns."""
        rows = []
        for batch in read_ahead(shard, self._job.images):
            rows += self._answer(batch)
        return rows

    def _answer(self, items: Sequence[ReadItem]) -> list[dict[str, Any]]:
        rows, sources, requests = [], list[Item](), list[Request]()
        for read in items:
            item = read.item
            if read.error is not None:
                rows.append(_failed(item, read.error))
                continue
            sources.append(item)
            requests.append(
                Request(
                    (read.image,),
                    item.context.get(REVIEW_KIND),
                    self._job.coverage,
                    top=1,
                    configured=item.context.get(CONFIGURED, {}),
                    single=True,
                )
            )
        answers = self._classifier.classify_batch(requests)
        for item, answer in zip(sources, answers, strict=True):
            if isinstance(answer, AugrankError):
                rows.append(_failed(item, str(answer)))
            else:
                rows.append(_answered(item, answer, answer.images[0]))
        return sorted(rows, key=lambda row: row["item"])


def _answered(item: Item, answer: Answer, image: ImageAnswer) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for name, told in image.labels.items():
        labels |= {
            name: told.value,
            f"{name}_probability": told.probability,
            f"{name}_set": list(told.set),
        }
    for name, rank in image.ranks.items():
        labels |= {
            f"{name}_score": rank.score,
            f"{name}_percentile": rank.percentile,
            f"{name}_above_median": rank.probability,
        }
    for name, tag in image.tags.items():
        labels |= {f"{name}_tag": tag.value, f"{name}_tag_source": tag.source}
    decision = image.decision
    return {
        "item": item.number,
        PATH: item.path,
        **labels,
        REVIEW_KIND: item.context.get(REVIEW_KIND),
        "decision": decision and decision.decision,
        "credit_probability": decision and decision.probability,
        "sha256": image.sha256,
        "bundle_version": answer.bundle_version,
        "engine": answer.engine,
        "error": None,
    }


def _failed(item: Item, message: str) -> dict[str, Any]:
    kind = item.context.get(REVIEW_KIND)
    return {"item": item.number, PATH: item.path, REVIEW_KIND: kind, "error": message}
