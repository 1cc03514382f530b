"""Writes bundle.json, and renames a finished export into place.

An export is written to a folder beside its destination and renamed once it has passed its gate, so
that the destination never contains a partial export.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from augrank.bundle.load import sha256_of
from augrank.bundle.spec import BUNDLE_FILE, SEAL, SpecT, seal
from augrank.models.head import HeadSpec
from export.run_reader import damaged
from export.trees import check_trees

CARD_FILE = "model_card.md"
MODEL_TAR = "model.tar.gz"  # SageMaker's name


@dataclass(frozen=True)
class Staging:
    """The files of an export before they are published."""

    folder: Path
    name: str  # of the model

    @property
    def bundle(self) -> Path:
        """The bundle directory."""
        return self.folder / "bundle"

    @property
    def archive(self) -> Path:
        """TorchServe's archive."""
        return self.folder / f"{self.name}.mar"

    @property
    def model_tar(self) -> Path:
        """SageMaker's archive."""
        return self.folder / MODEL_TAR

    def publish(self, dist: Path) -> None:
        """Rename the files into ``dist``, replacing those of an earlier export."""
        target = dist / "bundle"
        if target.exists():
            target.rename(self.folder / "replaced")
        self.bundle.rename(target)
        self.archive.replace(dist / self.archive.name)
        if self.model_tar.exists():
            self.model_tar.replace(dist / MODEL_TAR)
        else:  # that of an earlier export contains another model
            (dist / MODEL_TAR).unlink(missing_ok=True)


@contextmanager
def staging(dist: Path, name: str) -> Iterator[Staging]:
    """Yield the staging area of an export to ``dist``; unpublished files are deleted."""
    dist.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=dist) as folder:
        staged = Staging(Path(folder), name)
        staged.bundle.mkdir()
        yield staged


def copy_heads(run: Path, heads: Iterable[HeadSpec], bundle: Path) -> None:
    """Copy the files of a run's heads into a bundle.

    Raises:
        DataError: one is missing, or the arrays that servers read are not XGBoost's trees.
    """
    for head in heads:
        for name in head.paths:
            copy_file(run / name, bundle / name)
        check_trees(run / head.file, run / head.trees)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file of a run.

    Raises:
        DataError: it is missing or cannot be read.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with damaged(source):
        shutil.copyfile(source, target)


def write_bundle_json(bundle: Path, spec: SpecT, card: str = "") -> SpecT:
    """Write the model card, and bundle.json with the sha256 of every other file.

    Returns:
        The spec with these digests.
    """
    (bundle / CARD_FILE).write_text(card, encoding="utf-8")
    files = {
        file.relative_to(bundle).as_posix(): sha256_of(file)
        for file in sorted(bundle.rglob("*"))
        if file.is_file() and file.name != BUNDLE_FILE
    }
    spec = spec.model_copy(update={"files": files})
    content = json.loads(spec.model_dump_json())
    text = json.dumps({SEAL: seal(content), **content}, indent=2, ensure_ascii=False) + "\n"
    (bundle / BUNDLE_FILE).write_text(text, encoding="utf-8")
    return spec
