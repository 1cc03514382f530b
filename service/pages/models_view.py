"""What the page of models shows: figures with intervals, confusions, and the pictures behind."""

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from augrank.errors import DataError
from service.models.evaluation import EvaluatedImage, evaluation_path, read_evaluation
from service.models.statistics import Interval, wilson

MAX_PICTURES = 48


@dataclass(frozen=True)
class Figure:
    """How often a model is right: for all, an advertiser, or a class."""

    name: str
    images: int
    accuracy: Interval


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion: how often a class was taken for another, or for itself."""

    truth: str
    predicted: str
    count: int

    @property
    def right(self) -> bool:
        """Whether it is of the diagonal."""
        return self.truth == self.predicted


@dataclass(frozen=True)
class Detail:
    """A model's evaluation, for one label.

    Attributes:
        labels: that were evaluated.
        label: that is shown.
        total: over all answers of all labels.
        advertisers: of this label.
        classes: of this label, by the right class.
        columns: classes that were predicted or right.
        rows: of the confusion, one for each of ``columns``.
        pictures: behind the chosen cell, the most confident ones first.
        found: how many are behind it.
    """

    labels: tuple[str, ...]
    label: str
    total: Figure
    advertisers: tuple[Figure, ...]
    classes: tuple[Figure, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    pictures: tuple[EvaluatedImage, ...]
    found: int


def evaluation_of(folder: Path, digest: str, advertiser: str | None) -> tuple[EvaluatedImage, ...]:
    """Return what a model said of the test sets; nothing if it was not evaluated.

    Args:
        folder: of the service.
        digest: of the model.
        advertiser: whose images may be seen; None: all.
    """
    path = evaluation_path(folder, digest)
    try:
        images = _read(path, path.stat().st_mtime_ns)
    except (OSError, DataError):
        return ()
    return tuple(each for each in images if advertiser in (None, each.advertiser))


@functools.lru_cache(maxsize=4)
def _read(path: Path, changed: int) -> tuple[EvaluatedImage, ...]:
    """Read an evaluation; ``changed`` is the file's time, so that a new one is read again."""
    return tuple(read_evaluation(path))


def accuracy_of(folder: Path, digest: str, advertiser: str | None) -> Interval | None:
    """Return the accuracy over all answers of an evaluation; None if there is none.

    Args:
        folder: of the service.
        digest: of the model.
        advertiser: whose images may be seen; None: all.
    """
    path = evaluation_path(folder, digest)
    try:
        return _accuracy(path, path.stat().st_mtime_ns, advertiser)
    except (OSError, DataError):
        return None


@functools.lru_cache(maxsize=1000)
def _accuracy(path: Path, changed: int, advertiser: str | None) -> Interval | None:
    images = [each for each in read_evaluation(path) if advertiser in (None, each.advertiser)]
    return _figure("all", images).accuracy if images else None


def detail_of(
    images: Sequence[EvaluatedImage], label: str, truth: str, predicted: str
) -> Detail | None:
    """Return a model's evaluation, for one label; None if it was not evaluated.

    Args:
        images: its evaluation.
        label: to show; "" or an unknown one: the first.
        truth: of the chosen cell; "": none is chosen.
        predicted: of the chosen cell.
    """
    if not images:
        return None
    labels = tuple(sorted({each.label for each in images}))
    label = label if label in labels else labels[0]
    own = [each for each in images if each.label == label]
    columns = tuple(sorted({name for each in own for name in (each.truth, each.predicted)}))
    counts = Counter((each.truth, each.predicted) for each in own)
    behind = sorted(
        (each for each in own if (each.truth, each.predicted) == (truth, predicted)),
        key=lambda each: (-each.probability, each.sha256),
    )
    return Detail(
        labels=labels,
        label=label,
        total=_figure("all", images),
        advertisers=_figures(own, lambda each: each.advertiser),
        classes=_figures(own, lambda each: each.truth),
        columns=columns,
        rows=tuple(
            tuple(Cell(row, column, counts[row, column]) for column in columns) for row in columns
        ),
        pictures=tuple(behind[:MAX_PICTURES]),
        found=len(behind),
    )


def _figures(
    images: Sequence[EvaluatedImage], name_of: Callable[[EvaluatedImage], str]
) -> tuple[Figure, ...]:
    groups: dict[str, list[EvaluatedImage]] = {}
    for each in images:
        groups.setdefault(name_of(each), []).append(each)
    return tuple(_figure(name, groups[name]) for name in sorted(groups))


def _figure(name: str, images: Sequence[EvaluatedImage]) -> Figure:
    right = sum(each.correct for each in images)
    return Figure(name, len(images), wilson(right, len(images)))
