"""A run directory: the names in it, who may write there, and the record that export reads.

run.json          the record, written last: a run without it is not finished
report.json       every score beside its baseline and ceiling
backbone.pt       torchvision-named weights of the best epoch
heads/*.ubj       one XGBoost model a target
reference.npz     torch's embeddings of held-out images, for export's parity gate
catalogue.csv     the originals: path, split, sha256, attributes
plots/            PNG
tensorboard/      the same curves, live
checkpoints/      where an interrupted run goes on
cache/            decoded images, embeddings; safe to delete
fit.json          the options and data that the folder was started with
skipped.csv       rows of the manifest that the run goes on without, and why
lock              held by the process at work
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

from augrank.contracts.run import RUN_FILE, RUN_FORMAT
from augrank.errors import DataError
from augrank.files import LOCK, atomic_write, disk_errors, exclusive_lock, read_json, write_json

LIBRARIES = ("albumentations", "numpy", "opencv-python-headless", "pandas", "pillow",
             "scikit-learn", "torch", "torchvision", "xgboost")  # fmt: skip
MADE_BY_FIT = (RUN_FILE, "report.json", "backbone.pt", "heads", "reference.npz", "catalogue.csv",
               "plots", "tensorboard", "checkpoints", "fit.json", "skipped.csv")  # fmt: skip


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

    @property
    def reference(self) -> Path:
        """reference.npz."""
        return self.root / "reference.npz"

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

    def complete(self) -> dict[str, Any] | None:
        """The record of a finished run, or None.

        Raises:
            DataError: the file is damaged, or of another version of augrank.
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

    def claim(self) -> None:
        """Make the folder.

        Raises:
            DataError: it holds files that are not a run's.
        """
        if self.root.exists() and not self.root.is_dir():
            raise DataError(f"{self.root} is a file", expected="a folder, or a new name, in --out")
        ours = {*MADE_BY_FIT, "cache", LOCK}
        foreign = [path.name for path in self.root.glob("*") if path.name not in ours]
        if foreign and not self.started.is_file():
            raise DataError(
                f"{self.root} holds other files",
                expected="an empty folder, a new name, or a run, in --out",
                got=", ".join(sorted(foreign)[:5]),
            )
        self.root.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder, and hold it for this process: two runs would spoil each other's files.

        Raises:
            DataError: it holds files that are not a run's, or another process holds it; it cannot
                be written, then or in the block.
        """
        with disk_errors(
            self.root,
            "Free space there, and the same command goes on after the last whole epoch; or give "
            "another --out.",
        ):
            self.claim()
            with exclusive_lock(self.root / LOCK, f"another process is working in {self.root}"):
                yield

    def start(self, config: Mapping[str, Any], data: str, *, overwrite: bool) -> bool:
        """Note what the run is made from, or check that it is the same as before.

        A folder with nothing learned in it may be started with other options at any time.

        Args:
            config: ``FitConfig.decisive()``.
            data: fingerprint of manifest and images.
            overwrite: start anew where they differ.

        Returns:
            Whether the results of an earlier run were removed.

        Raises:
            DataError: says which option differs.
        """
        anew = overwrite
        if self.started.is_file() and not overwrite:
            differs = _differences(_read(self.started), config, data)
            anew = bool(differs)
            if differs and self._has_learned():
                raise DataError(
                    f"{self.root} was started with something else:\n  " + "\n  ".join(differs),
                    remedy="\nGive the same options to go on, another --out, or --overwrite to "
                    "start anew.",
                )
        if anew:
            self.clear()
        self._tidy()
        write_json(self.started, {"config": dict(config), "data": data})
        return anew

    def _has_learned(self) -> bool:
        """Whether there is a whole epoch, or what was made from it."""
        later = any(path.exists() for path in (self.weights, self.report, self.record))
        return later or any(self.checkpoints.glob("*.pt"))

    def _tidy(self) -> None:
        """Drop files that a killed process had begun."""
        for begun in (".*.part*", "checkpoints/.*.part*"):
            for part in self.root.glob(begun):
                part.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything that ``fit`` wrote, except the cache."""
        for name in MADE_BY_FIT:
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def record_of(weights: Path) -> dict[str, Any] | None:
    """The record of the finished run that a file of weights is from; None where it is from none.

    Args:
        weights: backbone.pt, or one of checkpoints/.
    """
    for root in weights.absolute().parents[:2]:
        with suppress(OSError, DataError):  # a file of that name may be anything
            record = _read(RunFolder(root).record)  # of any version: these names stay
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


def write_reference(
    file: Path, paths: Sequence[str], features: NDArray[np.float32], logits: NDArray[np.float32]
) -> None:
    """Write reference.npz: paths (P,), features (P, A, F) and logits (P, A, A), no pickle."""
    with atomic_write(file) as temporary, temporary.open("wb") as stream:
        np.savez(stream, paths=np.array(paths, dtype=str), features=features, logits=logits)


def installed_versions() -> dict[str, str]:
    """Versions of the libraries that shape a run, where installed under these names."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # headless and GPU builds carry other names
    return versions


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except ValueError as error:
        raise DataError(
            f"{file} is damaged ({error})",
            remedy="Start anew with --overwrite, or give another --out.",
        ) from error


def _differences(before: Mapping[str, Any], config: Mapping[str, Any], data: str) -> list[str]:
    old = before["config"]
    lines = [
        f"{name}: {old.get(name)} then, {config.get(name)} now"
        for name in sorted({*old, *config})
        if old.get(name) != config.get(name)
    ]
    if before["data"] != data:
        lines.append("the manifest or the images have changed")
    return lines
