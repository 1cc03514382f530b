"""Decide about a day's images: a row for each one collected, by the bundle's rules.

Answers of batch transform do not know an image's review kind, because a job has one set of fields
for all images. So they hold all probabilities, and the rules are applied to these here.
"""

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from augrank.aws.client import Aws
from augrank.batch.columns import columns_of
from augrank.batch.job import REVIEW_KIND, ClassifyJob
from augrank.bundle.classify_spec import ClassifyBundle, ClassifyGraphSpec
from augrank.contracts.manifest import PATH
from augrank.errors import BadRequest, DataError, one_of, reason
from augrank.tasks.classify.request import DEFAULT_COVERAGE
from augrank.tasks.classify.response import Answer, LabelAnswer
from examples.airflow.day.collect import MAX_SHOWN, Collected, CollectedImage, collected
from examples.airflow.day.folders import Day
from export.sagemaker.answers import fault, images_in

DECISIONS_FILE = "decisions.parquet"
DELETED = "the image was deleted after it was collected"
Row = dict[str, Any]


def decide(aws: Aws, day: Day, bundle: ClassifyBundle, max_errors: float) -> Counter[str]:
    """Write a row for each image of a day: its labels, and the decision or an error.

    Args:
        aws: services of a region.
        day: whose images were collected and answered.
        bundle: that answered.
        max_errors: share of images that may have an error in place of a decision, 0 to 1.

    Returns:
        The number of images by decision; ``error`` for those without.

    Raises:
        BadRequest: the bundle has no rules.
        DataError: an image has no answer or has changed, answers are of another bundle, or too many
            images have an error.
    """
    if bundle.spec.rules is None:
        raise BadRequest(
            "the bundle has no rules, so nothing can be decided",
            expected="a bundle that was exported with --rules rules.yaml",
            got=str(bundle.directory),
        )
    listed = collected(aws, day)
    answers = _answers(aws, day, listed)
    rows = [
        _row(number, image, answers[image.path], bundle)
        for number, image in enumerate(listed.images)
    ]
    _check_errors(rows, max_errors)
    job = ClassifyJob(bundle=bundle.directory, images=Path(), coverage=DEFAULT_COVERAGE)
    table, content = pa.Table.from_pylist(rows, columns_of(job)), io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    day.decided.write(aws, DECISIONS_FILE, content.getvalue())
    return Counter(row["decision"] or "error" for row in rows)


def _answers(aws: Aws, day: Day, listed: Collected) -> dict[str, dict[str, Any] | None]:
    """Return the answer to each image; None to one that was deleted before it was answered.

    Raises:
        DataError: an image has changed since it was collected, or has no answer.
    """
    there = images_in(day.photos, aws)
    changed = [
        image.path
        for image in listed.images
        if image.path in there and there[image.path].etag != image.etag
    ]
    if changed:
        raise DataError(
            f"{len(changed)} of {listed.count} images have changed since they were collected",
            expected="the ETags of images.json",
            got=", ".join(changed[:MAX_SHOWN]),
            remedy=f"Delete {day.collected.url} and {day.answers.url}, and clear the day's tasks.",
        )
    paths = [image.path for image in listed.images]
    stale = set(day.batch.unanswered(aws, {path: there[path] for path in paths if path in there}))
    answers = {
        path: answer
        for path, answer in day.batch.read(aws, paths)
        if fault(answer) is None and path not in stale
    }
    missing = [path for path in paths if path in there and path not in answers]
    if missing:
        raise DataError(
            f"{len(missing)} of {listed.count} images have no answer",
            expected=f"a file IMAGE.out for each in {day.answers.url}",
            got=f"none for {', '.join(missing[:MAX_SHOWN])}",
            remedy="Clear the task transform: it asks about these again.",
        )
    return {path: answers.get(path) for path in paths}


def _row(
    number: int, image: CollectedImage, answer: Mapping[str, Any] | None, bundle: ClassifyBundle
) -> Row:
    """Return the row of an image; ``augrank.batch.columns`` has the columns."""
    row: Row = {
        "item": number,
        PATH: image.path,
        REVIEW_KIND: image.review_kind,
        "decision": None,
        "error": None,
    }
    if answer is None:
        return {**row, "error": DELETED}
    if error := answer.get("error"):
        return {**row, "error": str(error["message"])}
    told = _checked(answer, image.path, bundle)
    seen = told.images[0]
    for label, each in seen.labels.items():
        row |= {
            label: each.value,
            f"{label}_probability": each.probability,
            f"{label}_set": list(each.set),
        }
    for name, rank in seen.ranks.items():
        row |= {
            f"{name}_score": rank.score,
            f"{name}_percentile": rank.percentile,
            f"{name}_above_median": rank.probability,
        }
    for label, tag in seen.tags.items():
        row |= {f"{label}_tag": tag.value, f"{label}_tag_source": tag.source}
    row |= {
        "sha256": seen.sha256,
        "bundle_version": told.bundle_version,
        "engine": told.engine,
    }
    graph = _graph_of(bundle, told.engine)
    try:
        kind, decision, probability = _decision(graph, image.review_kind, seen.labels)
    except BadRequest as unknown:  # the review kind: this image cannot be decided, others can
        return {**row, "error": str(unknown)}
    return {
        **row,
        REVIEW_KIND: kind,
        "decision": decision,
        "credit_probability": probability,
    }


def _checked(answer: Mapping[str, Any], path: str, bundle: ClassifyBundle) -> Answer:
    """Return an answer of this bundle.

    Raises:
        DataError: it is another's.
    """
    remedy = f"Decide with the bundle that answered, or delete the day's answers. ({path})"
    try:
        told = Answer.model_validate(answer)
    except ValidationError as error:
        raise DataError(
            "an answer is not a classifier's", got=reason(error), remedy=remedy
        ) from error
    if told.bundle_version != bundle.version:
        raise DataError(
            "an answer is of another bundle",
            expected=bundle.version,
            got=told.bundle_version,
            remedy=remedy,
        )
    return told


def _graph_of(bundle: ClassifyBundle, engine: str) -> ClassifyGraphSpec:
    """Return the graph that answered: thresholds are those of its heads.

    Raises:
        DataError: the bundle has no such graph.
    """
    graphs = {str(name): graph for name, graph in bundle.spec.graphs.items()}
    precision = engine.partition(" ")[0]  # of such as int8 on OpenVINO
    if precision not in graphs:
        raise DataError("an answer is of another graph", expected=one_of(graphs), got=engine)
    return graphs[precision]


def _decision(
    graph: ClassifyGraphSpec, review_kind: str | None, labels: Mapping[str, LabelAnswer]
) -> tuple[str, str, float]:
    """Return the review kind as the rules spell it, the decision, and the credit's probability.

    Raises:
        BadRequest: the image has no review kind, or one that the rules do not know.
        DataError: the answer does not hold the probabilities of all classes.
    """
    rules = graph.rules
    assert rules is not None  # the bundle has some, and so has each of its graphs
    if review_kind is None:
        raise BadRequest("the image has no review kind", expected=one_of(rules.rules))
    kind, told = rules.find(review_kind), labels[rules.label].top
    classes = next(head.classes for head in graph.heads if head.label == rules.label)
    if len(told) != len(classes):
        raise DataError(
            "an answer does not hold all classes",
            expected=f"the probabilities of {len(classes)}",
            got=str(len(told)),
            remedy="Transform with --field top=10000.",
        )
    probability = np.array([each.probability for each in told])
    decision, earns = rules.decide(kind, [each.name for each in told], probability)
    return kind, decision, round(earns, 6)


def _check_errors(rows: list[Row], max_errors: float) -> None:
    """Check that errors are exceptions.

    Raises:
        DataError: there are too many.
    """
    errors = Counter(row["error"] for row in rows if row["error"] is not None)
    if errors.total() > max_errors * len(rows):
        raise DataError(
            f"{errors.total()} of {len(rows)} images could not be decided",
            expected=f"at most {max_errors:.0%}",
            got="; ".join(f"{count} x {error}" for error, count in errors.most_common(3)),
            remedy="Look at the reasons, or allow more with --max-errors.",
        )
