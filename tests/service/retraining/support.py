"""Corrections, and commands in place of training and export, for tests of retraining."""

import importlib
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from augrank.bundle.spec import seal
from augrank.errors import AugrankError
from service.database.tables import Job
from service.jobs.queue import DONE, REVIEW
from service.jobs.worker import GONE_AFTER
from service.retraining import jobs
from service.retraining.jobs import (
    RetrainOptions,
    RetrainWorker,
    add_retraining,
)
from service.retraining.process import Ended
from service.retraining.review import Decision, decide, finish, next_items
from service.retraining.work import Retraining, RetrainWork
from tests.service.support.pages import Caller, photo

CLASSES = {"colour": ("blue", "green", "red"), "shape": ("bar", "box", "disc")}


def corrected(caller: Caller, count: int, advertiser: str = "ada") -> list[bytes]:
    """Send pictures, and correct the colour of each."""
    images = [photo(number) for number in range(count)]
    for image, answer in zip(images, caller.classify(*images, advertiser=advertiser), strict=True):
        value = "green" if answer["labels"]["colour"]["value"] != "green" else "red"
        response = caller.fix(image, "colour", value, advertiser=advertiser)
        assert response.status_code == 201, response.text
    return images


class KilledError(BaseException):
    """The process ends here."""


class Commands:
    """Runs steps in this process, and stands in for training and export."""

    def __init__(self, bundle: Path, run: Path) -> None:
        self.bundle, self.run, self.ran = bundle, run, list[str]()
        self.kill_after: str | None = None
        self.fails = False  # whether the disk is full

    def __call__(self, command, log, *, share, stopped, seen=lambda line: None) -> Ended:
        _, module, *rest = command
        name = rest[0]
        self.ran.append(name)
        if module == "service.retraining.steps":
            ended = self._step(name, Path(rest[1]))
        elif self.fails:
            ended = Ended(1, "the disk is full")
        else:
            getattr(self, f"_{name}")(rest[1:])
            ended = Ended(0, "")
        if self.kill_after == name:
            self.kill_after = None
            raise KilledError
        return ended

    def _step(self, name: str, folder: Path) -> Ended:
        try:
            importlib.import_module(f"service.retraining.steps.{name}").run(folder)
        except AugrankError as error:
            return Ended(2, str(error))
        return Ended(0, "")

    def _fit(self, words: list[str]) -> None:
        options = json.loads(Path(words[1]).read_text())
        out = Path(options["out"])
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.run / "backbone.pt", out / "backbone.pt")
        record = json.loads((self.run / "run.json").read_text())
        (out / "run.json").write_text(json.dumps(record))

    def _build(self, words: list[str]) -> None:
        bundle = Path(words[words.index("--out") + 1]) / "bundle"
        shutil.copytree(self.bundle, bundle)
        content = json.loads((bundle / "bundle.json").read_text())
        content["version"] = words[words.index("--version") + 1]
        content["sha256"] = seal(content)
        (bundle / "bundle.json").write_text(json.dumps(content))


def go_on(parts: Retraining) -> Job:
    """Work on the retraining as a new process does."""
    with parts.database.writes() as session:
        job = jobs.last_retraining(session)
        assert job is not None
        if job.seen_at is not None:
            job.seen_at = datetime.now(UTC) - 2 * GONE_AFTER
    worker = RetrainWorker(parts.database, RetrainWork(parts))
    claim = worker.claim()
    if claim is not None:
        worker._do(claim)
    with parts.database.reads() as session:
        found = session.get(Job, job.id)
        assert found is not None
        return found


def begin(parts: Retraining, **options) -> int:
    given = RetrainOptions(**{"candidates": 2, "min_side": 8, **options})
    with parts.database.writes() as session:
        return add_retraining(session, given, "eva").id


def kept_and_done(parts: Retraining, number: int, *, at_review: bool = False) -> bool:
    """Go on to the review, keep every fix, and go on to the end."""
    assert at_review or go_on(parts).state == REVIEW
    with parts.database.writes() as session:
        job = session.get(Job, number)
        assert job is not None
        for each in next_items(session, number, None, 100):
            decide(job, each, Decision("keep", "eva"), CLASSES)
        finish(session, job, "eva", accept=False)
    return go_on(parts).state == DONE
