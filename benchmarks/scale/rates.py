"""Measure the steps of ``augrank score`` in one process, on one core, without a cluster."""

import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augrank.batch.columns import columns_of
from augrank.batch.job import (
    BATCH,
    ClassifyJob,
    Item,
    RecommendJob,
    ScoringJob,
    fingerprint,
    review_context,
)
from augrank.batch.shard_scorer import ShardScorer, shard_scorer
from augrank.batch.shards import Partial, parquet_file
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import Bundle, BundleSpec
from augrank.errors import BadRequest
from augrank.images.decode import FOREIGN
from augrank.images.files import image_files
from augrank.models.context import ContextEncoder
from augrank.reporting import Reporter
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import DEFAULT_COVERAGE
from augrank.tasks.classify.request import Request as ClassifyRequest
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import Request as RecommendRequest
from benchmarks.scale.model import Rates

WARM_UP = 2  # batches
LISTED, COUNTED = 20_000, 50_000  # empty files; items
WRITTEN = 200  # shards of 64
MERGED, MERGED_ROWS = 20, 512  # shards, rows of each


@dataclass(frozen=True)
class ScaleJob:
    """A job of one target, and a context for all images."""

    job: ScoringJob
    context: Mapping[str, Any]

    def items(self, paths: Sequence[str]) -> list[Item]:
        """Return files as items."""
        return [Item(number, path, self.context) for number, path in enumerate(paths)]


def scale_job(bundle: Bundle[BundleSpec], images: Path) -> ScaleJob:
    """Return the job to measure: six candidates for the first target, or the labels."""
    folder = bundle.directory
    spec = bundle.spec
    if isinstance(spec, RecommendSpec):
        context = ContextEncoder(spec.context).draw(np.random.default_rng(0))
        job = RecommendJob(bundle=folder, images=images, targets=spec.targets[:1])
        return ScaleJob(job, context)
    classify = ClassifyJob(bundle=folder, images=images, coverage=DEFAULT_COVERAGE)
    return ScaleJob(classify, review_context(None))


def measure_rates(bundle: Bundle[BundleSpec], images: Path, reporter: Reporter, most: int) -> Rates:
    """Measure all steps; one thread computes.

    Args:
        bundle: of either task.
        images: folder of different images, none of them the bundle's own.
        reporter: says what is being measured.
        most: images to score.

    Raises:
        BadRequest: there are too few images.
    """
    asked = scale_job(bundle, images)
    paths = image_files(images).files[:most]
    if len(paths) < (WARM_UP + 4) * BATCH:
        raise BadRequest("too few images", expected=f"{(WARM_UP + 4) * BATCH} or more in --images")
    items = asked.items(paths)
    reporter.say(f"{bundle.spec.task}: {len(paths)} images in batches of {BATCH}")
    batch_s, rows = _batches(shard_scorer(asked.job), items)
    stages = _stages(bundle, asked, [images / path for path in paths[-32:]])
    reporter.say(f"{bundle.spec.task}: Parquet, the driver's steps")
    with tempfile.TemporaryDirectory(dir=images.parent) as folder:
        files = _files(asked.job, rows, Path(folder))
        list_s = _list_s(Path(folder) / "listed")
    return Rates(
        task=bundle.spec.task,
        engine=next((row["engine"] for row in rows if row.get("engine")), "none"),
        batch_s=tuple(round(each, 6) for each in batch_s),
        stages_ms=stages,
        embed_share=stages["embed"] / stages["total"],
        image_bytes=statistics.mean((images / path).stat().st_size for path in paths),
        list_s=list_s,
        item_s=_item_s(asked),
        item_bytes=_item_bytes(asked),
        **files,
    )


def _batches(
    scorer: ShardScorer, items: Sequence[Item]
) -> tuple[list[float], list[dict[str, Any]]]:
    """Return the seconds of each whole batch, and all rows."""
    seconds, rows = [], list[dict[str, Any]]()
    for start in range(0, len(items) - BATCH + 1, BATCH):
        began = time.perf_counter()
        rows += scorer(items[start : start + BATCH])
        if start >= WARM_UP * BATCH:
            seconds.append(time.perf_counter() - began)
    return seconds, rows


def _stages(bundle: Bundle[BundleSpec], asked: ScaleJob, files: list[Path]) -> dict[str, float]:
    """Return median milliseconds of an image, by stage, one image a request."""
    precision, job = bundle.spec.preferred, asked.job
    sent = [file.read_bytes() + FOREIGN for file in files]
    answers: list[Any]
    if isinstance(job, RecommendJob):
        recommender = Recommender(bundle, threads=1, precision=precision)  # type: ignore[arg-type]
        answers = [
            recommender.recommend_batch(
                [RecommendRequest(image, job.targets[0], asked.context, None, 0)]
            )[0]
            for image in sent
        ]
    else:
        classifier = Classifier(bundle, threads=1, precision=precision)  # type: ignore[arg-type]
        answers = [
            classifier.classify_batch([ClassifyRequest((image,), top=1, single=True)])[0]
            for image in sent
        ]
    timings = [answer.timings_ms.model_dump() for answer in answers[2:]]
    return {
        name: round(statistics.median(each[name] for each in timings), 4) for name in timings[0]
    }


def _files(job: ScoringJob, rows: list[dict[str, Any]], folder: Path) -> dict[str, float]:
    """Return seconds and bytes of rows as Parquet, of writing and of merging shards."""
    columns = columns_of(job)
    many = (rows * (MERGED_ROWS // len(rows) + 1))[:MERGED_ROWS]
    began = time.process_time()
    for _ in range(5):
        content = parquet_file(many, columns)
    parquet_s = (time.process_time() - began) / 5 / MERGED_ROWS
    # Repeated rows compress well: the size is that of different ones.
    row_bytes = len(parquet_file(rows, columns)) / len(rows)
    shard = parquet_file(rows[:64], columns)
    written = Partial(folder / "written.parquet", columns)
    began = time.perf_counter()
    for number in range(WRITTEN):
        written.write(number, shard)
    commit_s = (time.perf_counter() - began) / WRITTEN
    merged = Partial(folder / "merged.parquet", columns)
    for number in range(MERGED):
        merged.write(number, content)
    began = time.perf_counter()
    merged.finish(MERGED)
    merge_s = (time.perf_counter() - began) / (MERGED * MERGED_ROWS)
    return {
        "parquet_s": parquet_s,
        "row_bytes": row_bytes,
        "commit_s": commit_s,
        "merge_s": merge_s,
    }


def _list_s(folder: Path) -> float:
    folder.mkdir()
    for number in range(LISTED):
        (folder / f"{number:08d}.jpg").touch()
    began = time.perf_counter()
    image_files(folder)
    return (time.perf_counter() - began) / LISTED


def _item_s(asked: ScaleJob) -> float:
    began = time.perf_counter()
    fingerprint(asked.job, _many(asked), 64)
    return (time.perf_counter() - began) / COUNTED


def _item_bytes(asked: ScaleJob) -> float:
    tracemalloc.start()
    kept = _many(asked)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return size / len(kept)


def _many(asked: ScaleJob) -> list[Item]:
    return asked.items([f"2026/11/29/{number:010d}/image.jpg" for number in range(COUNTED)])
