"""Remove files of candidates when nothing needs them any more, so that they do not fill the disk.

The service's models have copies of their bundles. Of a candidate that is one of them, its run stays
as well: it is exported again with other rules, and the next candidates start from its weights. Of
all others their reports and logs stay. A job that can still be tried again keeps everything.
"""

import logging
import shutil
from collections.abc import Set
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from augrank.files import read_json
from service.database.session import Database
from service.database.tables import Job, Model
from service.jobs.queue import DONE, FAILED
from service.retraining.data.files import Root
from service.retraining.jobs import END, overtaken, stage_of

log = logging.getLogger("augrank.service")
# Of a run: what only a training that goes on needs, and what stays of every run.
RESUMED = ("checkpoints", "cache")
REPORTS = ("report.json", "plots", "tensorboard", "fit.json", "skipped.csv")


def remove_spent(database: Database, root: Root, ended: int) -> None:
    """Remove what no job needs: of one that has ended now, and of earlier ones.

    Args:
        database: with the jobs and models.
        root: of retraining.
        ended: job whose stages are done, though its row does not say so yet.
    """
    folder = root.path / "jobs"
    numbers = [int(each.name) for each in folder.glob("*") if each.name.isdecimal()]
    with database.reads() as session:
        kept = set(session.scalars(select(Model.digest).where(Model.path != "")))
        spent = [each for each in sorted(numbers) if each == ended or _is_spent(session, each)]
    for number in spent:
        for place in sorted((root.job(number) / "candidates").glob("*")):
            try:
                _clear(place, kept)
            except OSError:
                log.exception("the files in %s are left", place)


def _is_spent(session: Session, number: int) -> bool:
    """Return whether a job neither goes on nor can be tried again."""
    job = session.get(Job, number)
    if job is None or job.state not in (DONE, FAILED):
        return False
    return job.state == DONE or stage_of(job) == END or overtaken(session, job) is not None


def _clear(place: Path, kept: Set[str]) -> None:
    """Remove files of a candidate.

    Args:
        place: its folder.
        kept: digests of the models whose bundles the service has.
    """
    done = place / "done.json"
    is_model = done.is_file() and read_json(done).get("digest") in kept
    shutil.rmtree(place / "dist", ignore_errors=True)
    for entry in (place / "run").glob("*"):
        if entry.name not in RESUMED if is_model else entry.name in REPORTS:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
