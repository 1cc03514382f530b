"""Where retraining keeps its files, and how they get there.

FOLDER/retraining/images, datasets     see dataset.py
FOLDER/retraining/jobs/ID              of one job: requests and results of its steps, candidates
FOLDER/retraining/runs/DIGEST.json     which run a bundle comes from, for fine-tuning
"""

import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Root:
    """The folder of retraining."""

    folder: Path  # of the service

    @property
    def path(self) -> Path:
        """FOLDER/retraining."""
        return self.folder.absolute() / "retraining"

    @property
    def images(self) -> Path:
        """The files of all versions of the dataset."""
        return self.path / "images"

    def job(self, job_id: int) -> Path:
        """Return the folder of a job."""
        return self.path / "jobs" / str(job_id)

    def dataset(self, digest: str) -> Path:
        """Return the folder of a version of the dataset."""
        return self.path / "datasets" / digest[:16]

    def run_of(self, bundle: str) -> Path:
        """Return the file that says which run a bundle comes from."""
        return self.path / "runs" / f"{bundle}.json"


def link_file(source: Path, target: Path) -> None:
    """Put a file in another place: a link where the disk allows it, else a copy."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            os.link(source, partial)
        except OSError:  # another disk, or one without links
            shutil.copyfile(source, partial)
        partial.replace(target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
