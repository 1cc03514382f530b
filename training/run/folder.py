"""The run directory: its files, its lock, and how it is started and resumed.

run.json          the record that export reads, written last: without it a run is not finished
report.json       every metric beside its baseline and ceiling
backbone.pt       torchvision-named weights of the best epoch
graphs/           the backbone as ONNX: fp32, and int8 calibrated on training images
heads/fp32/*.ubj  one XGBoost model per target and graph, with its posteriors (.npz)
reference-*.npz   each graph's embeddings of held-out images, for export's parity gate
catalogue.csv     the originals: path, split, sha256, attributes
plots/            PNG
tensorboard/      the same curves, live; wandb/ with --wandb
calibration-*.npz what a classifier's heads say of the calibration images
checkpoints/      the last complete epoch, from which an interrupted run resumes
cache/            decoded images, embeddings; safe to delete
fit.json          the options and data that the run was started with
skipped.csv       rows of the manifest that were left out, and why
lock              held by the process that writes here
"""

import csv
import importlib.metadata
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.run import RUN_FILE, RUN_FORMAT, Precision
from augrank.errors import DataError
from augrank.files import LOCK, atomic_write, disk_errors, exclusive_lock, read_json, write_json
from training.config import with_defaults

LIBRARIES = (
    "albumentations",
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python-headless",
    "openvino",
    "pandas",
    "pillow",
    "scikit-learn",
    "torch",
    "torchvision",
    "xgboost",
)
WRITTEN_BY_FIT = (
    RUN_FILE,
    "report.json",
    "backbone.pt",
    "graphs",
    "heads",
    "reference-fp32.npz",
    "reference-int8.npz",
    "catalogue.csv",
    "plots",
    "tensorboard",
    "checkpoints",
    "calibration-fp32.npz",
    "calibration-int8.npz",
    "wandb",
    "fit.json",
    "skipped.csv",
)


@dataclass(frozen=True)
class RunFolder:
    """Paths below one run directory."""

    root: Path

    @property
    def record(self) -> Path:
        """run.json."""
        return self.root / RUN_FILE

    @property
    def report(self) -> Path:
        """report.json."""
        return self.root / "report.json"

    @property
    def started(self) -> Path:
        """fit.json."""
        return self.root / "fit.json"

    @property
    def skipped(self) -> Path:
        """skipped.csv."""
        return self.root / "skipped.csv"

    @property
    def weights(self) -> Path:
        """backbone.pt."""
        return self.root / "backbone.pt"

    def graph(self, precision: Precision) -> Path:
        """Return graphs/PRECISION.onnx."""
        return self.root / "graphs" / f"{precision}.onnx"

    def reference(self, precision: Precision) -> Path:
        """Return reference-PRECISION.npz."""
        return self.root / f"reference-{precision}.npz"

    def calibration(self, precision: Precision) -> Path:
        """Return calibration-PRECISION.npz."""
        return self.root / f"calibration-{precision}.npz"

    @property
    def catalogue(self) -> Path:
        """catalogue.csv."""
        return self.root / "catalogue.csv"

    @property
    def checkpoints(self) -> Path:
        """checkpoints/."""
        return self.root / "checkpoints"

    @property
    def plots(self) -> Path:
        """plots/."""
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        """tensorboard/."""
        return self.root / "tensorboard"

    @property
    def cache(self) -> Path:
        """cache/."""
        return self.root / "cache"

    def read_complete(self) -> dict[str, Any] | None:
        """Read the record of a finished run; None if it is not finished.

        Raises:
            DataError: the file is damaged, or was written by another version of augrank.
        """
        content = _read(self.record) if self.record.is_file() else {}
        if not content.get("complete"):
            return None
        if content.get("format") != RUN_FORMAT:
            raise DataError(
                f"{self.record} was written by another version of augrank",
                expected=f"format {RUN_FORMAT}",
                got=str(content.get("format")),
                remedy="Train again with --overwrite, or give another --out.",
            )
        return content

    def create(self) -> None:
        """Create the directory.

        Raises:
            DataError: it contains files that do not belong to a run.
        """
        if self.root.exists() and not self.root.is_dir():
            raise DataError(f"{self.root} is a file", expected="a folder, or a new name, in --out")
        known = {*WRITTEN_BY_FIT, "cache", LOCK}
        foreign = [path.name for path in self.root.glob("*") if path.name not in known]
        if foreign and not self.started.is_file():
            raise DataError(
                f"{self.root} contains other files",
                expected="an empty folder, a new name, or a run, in --out",
                got=", ".join(sorted(foreign)[:5]),
            )
        self.root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Create the directory and lock it, so that no other process writes to it.

        Raises:
            DataError: it contains files that do not belong to a run, or another process has locked
                it, or it cannot be written, now or during the block.
        """
        with disk_errors(
            self.root,
            "Free space there and run the same command again to resume after the last complete "
            "epoch; or give another --out.",
        ):
            self.create()
            with exclusive_lock(self.root / LOCK, f"another process is working in {self.root}"):
                yield

    def start(self, config: Mapping[str, Any], data: str, *, overwrite: bool) -> bool:
        """Record options and data, or check that they are the same as before.

        A run that has not completed an epoch may be started with other options at any time.

        Args:
            config: ``FitConfig.decisive()``.
            data: fingerprint of manifest and images.
            overwrite: start over.

        Returns:
            Whether the files of an earlier run were removed.

        Raises:
            DataError: options or data differ; the message says which.
        """
        start_over = overwrite
        if self.started.is_file() and not overwrite:
            differs = _differences(_read(self.started), config, data)
            start_over = bool(differs)
            if differs and self._has_epoch():
                raise DataError(
                    f"{self.root} was started with other options or data:\n  "
                    + "\n  ".join(differs),
                    remedy="\nGive the same options to resume, another --out, or --overwrite to "
                    "start over.",
                )
        if start_over:
            self.clear()
        self._remove_partial_files()
        write_json(self.started, {"config": dict(config), "data": data})
        return start_over

    def _has_epoch(self) -> bool:
        """Return whether there is a complete epoch, or anything made from it."""
        later = any(path.exists() for path in (self.weights, self.report, self.record))
        return later or any(self.checkpoints.glob("*.pt"))

    def _remove_partial_files(self) -> None:
        """Remove unfinished files of killed processes."""
        for pattern in (".*.part*", "checkpoints/.*.part*"):
            for part in self.root.glob(pattern):
                part.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything that ``fit`` wrote, except the cache."""
        for name in WRITTEN_BY_FIT:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def record_of(weights: Path) -> dict[str, Any] | None:
    """Find the record of the finished run that a file of weights belongs to; None without one.

    Args:
        weights: backbone.pt, or one of checkpoints/.
    """
    for root in weights.absolute().parents[:2]:
        with suppress(OSError, DataError):  # a file of that name may be anything
            record = _read(RunFolder(root).record)  # of any version: these names do not change
            if record.get("complete") and {"mean", "std", "weights_file"} <= record.keys():
                return record
    return None


def write_catalogue(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write catalogue.csv: relative_im_path, split, sha256, then attributes."""
    with (
        atomic_write(file) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def save_reference(
    file: Path, paths: Sequence[str], features: NDArray[np.float32], logits: NDArray[np.float32]
) -> None:
    """Write a reference: paths (P,), features (P, A, F) and logits (P, A, A), no pickle."""
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, paths=np.array(paths, dtype=str), features=features, logits=logits)


def installed_versions() -> dict[str, str]:
    """Return the versions of the libraries that a run depends on, if they are installed."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # headless and GPU builds have other names
    return versions


def _read(file: Path) -> dict[str, Any]:
    return read_json(file, "Start over with --overwrite, or give another --out.")


def _differences(before: Mapping[str, Any], config: Mapping[str, Any], data: str) -> list[str]:
    old = with_defaults(before["config"], config)
    lines = [
        f"{name}: {old.get(name)} then, {config.get(name)} now"
        for name in sorted({*old, *config})
        if old.get(name) != config.get(name)
    ]
    if before["data"] != data:
        lines.append("the manifest or the images have changed")
    return lines
