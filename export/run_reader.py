"""Reads a run directory: the files that training wrote, none of its functions."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.load import sha256_of
from augrank.contracts.manifest import PATH, SHA256, SPLIT
from augrank.contracts.recommend_run import RecommendRun
from augrank.contracts.run import RUN_FILE, parse_run
from augrank.errors import DataError

REFERENCE_FILE = "reference.npz"


@dataclass(frozen=True)
class CatalogueRow:
    """An original of the run's catalogue."""

    path: str  # relative to the images folder
    split: str  # train, validation or test
    sha256: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Reference:
    """What torch gave, during training, for every candidate of some held-out images."""

    paths: tuple[str, ...]  # P
    features: NDArray[np.float32]  # (P, A, F)
    logits: NDArray[np.float32]  # (P, A, A)


@dataclass(frozen=True)
class Run:
    """A finished run directory."""

    directory: Path
    record: RecommendRun
    catalogue: tuple[CatalogueRow, ...]

    @property
    def weights(self) -> Path:
        """The backbone's state dict."""
        return self.directory / self.record.weights_file

    def reference(self) -> Reference:
        """Load reference.npz."""
        file = self.directory / REFERENCE_FILE
        if not file.is_file():
            raise DataError(
                f"{self.directory} has no {REFERENCE_FILE}",
                expected="the held-out embeddings that training stores",
                remedy="Train again with this version.",
            )
        with np.load(file, allow_pickle=False) as arrays:
            paths = tuple(str(path) for path in arrays["paths"])
            return Reference(paths, arrays["features"], arrays["logits"])

    def image_bytes(self, row: CatalogueRow) -> bytes:
        """Read a catalogue image and check that it is the one that was trained on."""
        file = self.record.images / row.path
        if not file.is_file():
            raise DataError(
                f"{row.path} is not in {self.record.images}",
                expected="the images where they were when the run was trained",
                remedy="Put them back, or name their new place with --images.",
            )
        if sha256_of(file) != row.sha256:
            raise DataError(
                f"{row.path} has changed since training", remedy="Restore it, or train again."
            )
        return file.read_bytes()

    def rows(self, split: str) -> list[CatalogueRow]:
        """The catalogue's rows of one split."""
        return [row for row in self.catalogue if row.split == split]


def load_run(directory: Path, images: Path | None = None) -> Run:
    """Read a finished run.

    Args:
        directory: what ``python -m training fit --out`` wrote.
        images: where the images are now, if they moved since.

    Raises:
        DataError: not a finished run, or one without heads.
    """
    file = directory / RUN_FILE
    if not file.is_file():
        raise DataError(
            f"{directory} is no finished run",
            expected=f"a directory with {RUN_FILE}",
            remedy="Run python -m training fit with the same options; it goes on where it stopped.",
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    if images is not None:
        content["images"] = str(images)
    record = parse_run(content, file)
    if not isinstance(record, RecommendRun):
        raise DataError(
            f"{directory} cannot be exported",
            expected="a run of the task recommend",
            got=f"task {record.task!r}",
            remedy="Train it with python -m training fit.",
        )
    if not record.heads:
        raise DataError(
            f"{directory} has no heads",
            expected="at least one target",
            got="a backbone alone",
            remedy="Train on a manifest with outcomes, or make some with python -m training "
            "simulate.",
        )
    return Run(directory, record, tuple(_catalogue(directory / record.catalogue)))


def _catalogue(file: Path) -> list[CatalogueRow]:
    with file.open(encoding="utf-8", newline="") as stream:
        rows = []
        for line in csv.DictReader(stream):
            path, split, digest = (line.pop(name) for name in (PATH, SPLIT, SHA256))
            attributes = {name: value for name, value in line.items() if value}
            rows.append(CatalogueRow(path, split, digest, attributes))
        return rows
