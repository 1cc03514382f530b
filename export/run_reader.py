"""Read a run directory: only the files that training wrote, not its functions."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from augrank.arrays import read_arrays
from augrank.bundle.load import sha256_of
from augrank.contracts.manifest import PATH, SHA256, SPLIT
from augrank.contracts.run import RUN_FILE, Precision, RunRecord, parse_run
from augrank.errors import DataError, reason
from augrank.files import read_json

RETRAIN = "Restore it, or train again with this version."
Record = TypeVar("Record", bound=RunRecord, covariant=True)
TaskRecord = TypeVar("TaskRecord", bound=RunRecord)


@dataclass(frozen=True)
class CatalogueRow:
    """An original image of the run's catalogue."""

    path: str  # relative to the images folder
    split: str  # train, validation or test
    sha256: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Reference:
    """A graph's outputs, during training, for every candidate of some held-out images.

    Those of fp32 are torch's.
    """

    paths: tuple[str, ...]  # P
    features: NDArray[np.float32]  # (P, A, F)
    logits: NDArray[np.float32]  # (P, A, A)


@dataclass(frozen=True)
class Run(Generic[Record]):
    """A finished run directory."""

    directory: Path
    record: Record
    catalogue: tuple[CatalogueRow, ...]

    def of_task(self, record: type[TaskRecord]) -> "Run[TaskRecord]":
        """Return the run, with its record typed as a task's record.

        Raises:
            DataError: the run is of another task.
        """
        if not isinstance(self.record, record):
            raise DataError(
                f"{self.directory} is a run of another task",
                expected=record.__name__,
                got=f"task {self.record.task!r}",
            )
        return Run(self.directory, self.record, self.catalogue)

    def reference(self, precision: Precision = "fp32") -> Reference:
        """Load a graph's reference.

        Raises:
            DataError: it is missing or damaged.
        """
        file = self.directory / self.record.graphs[precision].reference
        with damaged(file):
            arrays = read_arrays(file)
            paths = tuple(str(path) for path in arrays["paths"])
            return Reference(paths, arrays["features"], arrays["logits"])

    def image_bytes(self, row: CatalogueRow) -> bytes:
        """Read a catalogue image, after checking that it is the same as in training.

        Raises:
            DataError: it is missing, or has changed.
        """
        file = self.record.images / row.path
        if not file.is_file():
            raise DataError(
                f"{row.path} is not in {self.record.images}",
                expected="the images in the folder that the run was trained on",
                remedy="Put them back, or give their new folder with --images.",
            )
        if sha256_of(file) != row.sha256:
            raise DataError(
                f"{row.path} has changed since training", remedy="Restore it, or train again."
            )
        return file.read_bytes()

    def rows(self, split: str) -> list[CatalogueRow]:
        """Return the catalogue's rows of one split."""
        return [row for row in self.catalogue if row.split == split]


def load_run(directory: Path, images: Path | None = None) -> Run[RunRecord]:
    """Read a finished run.

    Args:
        directory: a run that ``python -m training fit --out`` wrote.
        images: the folder of the images, if they were moved since training.

    Raises:
        DataError: the directory is not a finished run.
    """
    file = directory / RUN_FILE
    if not file.is_file():
        raise DataError(
            f"{directory} is not a finished run",
            expected=f"a directory with {RUN_FILE}",
            remedy="Run python -m training fit with the same options; it resumes where it stopped.",
        )
    content = read_json(file, RETRAIN)
    if images is not None:
        content["images"] = str(images)
    run = Run(directory, parse_run(content, file), ())
    return replace(run, catalogue=tuple(_catalogue(directory / run.record.catalogue)))


@contextmanager
def damaged(file: Path) -> Iterator[None]:
    """Convert the errors of reading a run's file into one that names it.

    Raises:
        DataError: the block cannot read the file.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, csv.Error) as error:
        missing = isinstance(error, FileNotFoundError)
        raise DataError(
            f"{file} is missing" if missing else f"{file} is damaged",
            got="" if missing else reason(error),
            remedy=RETRAIN,
        ) from error


def _catalogue(file: Path) -> list[CatalogueRow]:
    with damaged(file), file.open(encoding="utf-8", newline="") as stream:
        rows = []
        for line in csv.DictReader(stream):
            path, split, digest = (line.pop(name) for name in (PATH, SPLIT, SHA256))
            if not (path and split and digest):
                raise ValueError(f"a row without {PATH}, {SPLIT} or {SHA256}")
            attributes = {name: value for name, value in line.items() if value}
            rows.append(CatalogueRow(path, split, digest, attributes))
        return rows
