"""Ask a model about every picture of the frozen test sets."""

from collections.abc import Sequence
from pathlib import Path

from augrank.errors import AugrankError
from augrank.files import read_json
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.classify.request import Request
from augrank.tasks.classify.response import ImageAnswer
from service.models.evaluation import EvaluatedImage, write_evaluation
from service.retraining.data.dataset import TRAIN, Row, file_name, read_rows

CHUNK = 32  # images that are asked about together
REQUEST = "evaluate.request.json"


def run(folder: Path) -> None:
    """Write the evaluation of one model from evaluate.request.json.

    Args:
        folder: with the request: ``bundle``, ``dataset``, ``images``, ``threads`` and ``out``.
    """
    asked = read_json(folder / REQUEST)
    model = Classifier.load(Path(asked["bundle"]), threads=asked["threads"])
    rows = [
        row for row in read_rows(Path(asked["dataset"]) / "rows.jsonl")
        if row.set != TRAIN and row.labels
    ]  # fmt: skip
    found = list[EvaluatedImage]()
    for start in range(0, len(rows), CHUNK):
        found += _evaluated(model, rows[start : start + CHUNK], Path(asked["images"]))
    write_evaluation(Path(asked["out"]), found)


def _evaluated(model: Classifier, rows: Sequence[Row], images: Path) -> list[EvaluatedImage]:
    data = tuple((images / file_name(row.sha256)).read_bytes() for row in rows)
    (answer,) = model.classify_batch([Request(data)])
    if isinstance(answer, AugrankError):
        raise answer
    return [
        each
        for row, image in zip(rows, answer.images, strict=True)
        if image.error is None
        for each in _labels(row, image)
    ]


def _labels(row: Row, image: ImageAnswer) -> list[EvaluatedImage]:
    return [
        EvaluatedImage(
            sha256=row.sha256,
            advertiser=row.advertiser,
            label=label,
            truth=truth,
            predicted=image.labels[label].value,
            probability=image.labels[label].probability,
        )
        for label, truth in sorted(row.labels.items())
        if label in image.labels
    ]
