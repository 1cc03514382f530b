"""Which models there are: a row for each, and a copy of its bundle in the service's folder.

FOLDER/models/DIGEST/                    the bundle; its files are checked whenever it is loaded
FOLDER/models/DIGEST.evaluation.jsonl    what it said of the test sets (evaluation.py)

A bundle is copied under another name, checked, and renamed before its row is written: a row never
points to half a bundle. What a crash leaves without a row is removed at a later start.
"""

import logging
import os
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from augrank.bundle.load import load_bundle
from augrank.bundle.spec import BUNDLE_FILE, Bundle, BundleSpec
from augrank.errors import BundleError, one_of
from augrank.files import disk_errors
from service.database.session import Database, insert_missing, lock_for_adding
from service.database.tables import Model, Promotion
from service.errors import BundleExpired, Conflict, NotFound
from service.models.evaluation import evaluation_path

log = logging.getLogger("augrank.service")
CANDIDATE, LIVE, RETIRED, REJECTED = "candidate", "live", "retired", "rejected"
PROMOTE, ROLLBACK = "promote", "rollback"
CHANGING = 7_202_517  # number of the lock of those who change which model is live
START = "(start)"  # who made the bundle of the command line the live one
LEFT_OVER_S = 24 * 3600.0  # age of files without a row, after which nobody is adding them
MAX_MODELS = 12  # bundles that are kept


@dataclass(frozen=True)
class Origin:
    """Where a bundle comes from.

    Attributes:
        parent: digest of the model that was live when it was trained.
        dataset: digest of the version of the dataset.
        metrics: of the bundle, beside those that it records itself.
    """

    parent: str | None = None
    dataset: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """Why another model becomes the live one.

    Attributes:
        kind: ``PROMOTE`` or ``ROLLBACK``.
        who: decided it.
        why: that person's words.
    """

    kind: str
    who: str
    why: str = ""


class Registry:
    """The models of a service. Thread-safe, also for several processes with one folder.

    Args:
        database: with the models.
        folder: of the service.
        most: bundles that are kept, beside candidates; the oldest ones go.
    """

    def __init__(self, database: Database, folder: Path, most: int = MAX_MODELS) -> None:
        self.database, self.folder, self._most = database, folder, most

    def add(self, bundle: Path, origin: Origin = Origin()) -> Model:
        """Add a bundle as a candidate; one that is there already stays what it is.

        Args:
            bundle: its directory.
            origin: of the bundle.

        Raises:
            BundleError: it is none, or was modified.
            DataError: it cannot be copied.
        """
        while (model := self._noted(self._copied(bundle), origin)) is None:
            log.info("the copy of %s was removed meanwhile: once more", bundle)
        return model

    def models(self, task: str | None = None) -> list[Model]:
        """Return the models, the last ones first."""
        query = select(Model).order_by(Model.id.desc())
        if task is not None:
            query = query.where(Model.task == task)
        with self.database.reads() as session:
            return list(session.scalars(query))

    def get(self, model_id: int) -> Model:
        """Return a model.

        Raises:
            NotFound: there is none.
        """
        with self.database.reads() as session:
            return find_model(session, model_id)

    def live(self, task: str) -> Model | None:
        """Return the live model of a task, if there is one."""
        with self.database.reads() as session:
            return live_model(session, task)

    def history(self, task: str | None = None, most: int = 100) -> list[Promotion]:
        """Return promotions and rollbacks, the last ones first."""
        query = select(Promotion).order_by(Promotion.id.desc()).limit(most)
        if task is not None:
            query = query.where(Promotion.task == task)
        with self.database.reads() as session:
            return list(session.scalars(query))

    def directory(self, model: Model) -> Path:
        """Return the directory of a model's bundle.

        Raises:
            BundleExpired: it was removed.
        """
        found = self.folder / model.path
        if not model.path or not (found / BUNDLE_FILE).is_file():
            raise BundleExpired(
                f"the bundle of model {model.id} is not kept any more",
                expected=f"{_relative(model.digest)} in the service's folder",
                got="no such folder",
                remedy="Add it again: python -m service models add BUNDLE.",
            )
        return found

    def decide(self, model_id: int, gate: Mapping[str, Any], *, promote: bool) -> Model:
        """Write what the gate says of a candidate; one that is refused is rejected.

        Args:
            model_id: of the candidate.
            gate: its result, as JSON.
            promote: whether it may be promoted.

        Raises:
            NotFound: there is no such model.
            Conflict: it is not a candidate any more.
        """
        with self.database.writes() as session:
            lock_for_adding(session, CHANGING)
            model = find_model(session, model_id)
            if model.state not in (CANDIDATE, REJECTED):
                raise Conflict("only candidates are judged", expected=CANDIDATE, got=model.state)
            model.gate, model.state = dict(gate), CANDIDATE if promote else REJECTED
        return model

    def start_with(self, bundle: Path, *, replace: bool = False) -> Model:
        """Return the model to start with: the live one; without one, a bundle becomes it.

        Args:
            bundle: its directory, given on the command line.
            replace: let it become the live one, whatever was promoted.

        Raises:
            BundleError: it is none, or was modified.
            Conflict: the live bundle is not there.
        """
        self._sweep()
        given = load_bundle(bundle)
        live = self.live(given.spec.task)
        if live is not None and live.digest != given.digest and not replace:
            log.warning(
                "bundle %s is not served: %s (model %d) was promoted; --replace serves the other",
                given.digest[:12],
                live.digest[:12],
                live.id,
            )
            self.directory(live)
            return live
        model = self.add(bundle)
        why = "the first bundle" if live is None else "--replace"
        with self.database.writes() as session:
            lock_for_adding(session, CHANGING)
            now = live_model(session, model.task)
            if now is not None and (now.digest == model.digest or not replace):
                return now  # another process was first
            model = find_model(session, model.id)
            self.directory(model)  # it may have been removed, under the same lock
            make_live(session, model, now, Change(PROMOTE, START, why))
        return self.get(model.id)

    def trim(self) -> int:
        """Remove the oldest bundles if there are too many; return how many.

        Candidates, the live models and those that a rollback leads to stay. Rows stay, too.
        """
        removed: list[str] = []
        with self.database.writes() as session:
            lock_for_adding(session, CHANGING)
            query = select(Model).where(Model.path != "").order_by(Model.id.desc())
            models = list(session.scalars(query))
            needed = {model.id for model in models if model.state in (CANDIDATE, LIVE)}
            for model in [each for each in models if each.state == LIVE]:
                before = model_before(session, model)
                needed |= {before.id} if before else set()
            old = [model for model in models if model.id not in needed]
            for model in old[max(0, self._most - len(needed)) :]:
                model.path = ""
                removed.append(model.digest)
        self._remove(removed)
        return len(removed)

    def _noted(self, opened: Bundle[BundleSpec], origin: Origin) -> Model | None:
        """Write the row of a copy; return None if it was removed in the meantime."""
        row = {
            "task": opened.spec.task,
            "name": opened.spec.name,
            "digest": opened.digest,
            "path": _relative(opened.digest),
            "state": CANDIDATE,
            "created_at": datetime.now(UTC),
            "parent": origin.parent,
            "dataset": origin.dataset,
            "metrics": {**opened.spec.metrics, **origin.metrics},
        }
        with self.database.writes() as session:
            lock_for_adding(session, CHANGING)
            if not (opened.directory / BUNDLE_FILE).is_file():
                return None
            insert_missing(session, Model, [row])
            query = select(Model).where(Model.task == row["task"], Model.digest == opened.digest)
            model = session.scalars(query).one()
            model.path = _relative(opened.digest)  # it may have been removed in the meantime
        return model

    def _copied(self, bundle: Path) -> Bundle[BundleSpec]:
        """Copy a bundle into the folder, whole or not at all; return the copy."""
        source = load_bundle(bundle)
        target = self.folder / _relative(source.digest)
        if target.exists():
            try:
                return load_bundle(target)
            except BundleError as error:
                log.warning("the copy of %s is replaced: %s", source.digest[:12], error)
                shutil.rmtree(target, ignore_errors=True)
        partial = target.with_name(f".{source.digest}.{secrets.token_hex(4)}.part")
        with disk_errors(target.parent, "Free space, or start with another --folder."):
            try:
                _copy(source, partial)
                load_bundle(partial)
                _rename(partial, target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return load_bundle(target)

    def _sweep(self) -> None:
        """Remove what a crash left: copies that were not finished, and those without a row."""
        folder = self.folder / "models"
        if not folder.is_dir():
            return
        since = time.time() - LEFT_OVER_S
        entries = [entry for entry in os.scandir(folder) if entry.is_dir()]
        self._remove([entry.name for entry in entries if entry.stat().st_mtime < since])

    def _remove(self, names: Sequence[str]) -> None:
        """Remove folders of bundles, but none that a row names: ``add`` may have taken it again."""
        hidden: list[Path] = []
        if not names:
            return
        with self.database.writes() as session:
            lock_for_adding(session, CHANGING)
            known = {Path(path).name for path in session.scalars(select(Model.path)) if path}
            for name in sorted({*names} - known):
                target = self.folder / _relative(f".{name.strip('.')}.{secrets.token_hex(4)}.part")
                with suppress(OSError):  # gone already, or another user's
                    (self.folder / _relative(name)).rename(target)  # deleting takes longer
                    hidden.append(target)
                    evaluation_path(self.folder, name).unlink(missing_ok=True)
        for target in hidden:
            shutil.rmtree(target, ignore_errors=True)


def find_model(session: Session, model_id: int) -> Model:
    """Return a model.

    Raises:
        NotFound: there is none.
    """
    model = session.get(Model, model_id)
    if model is None:
        raise NotFound("there is no such model", expected="an id of the list", got=str(model_id))
    return model


def live_model(session: Session, task: str) -> Model | None:
    """Return the live model of a task, if there is one."""
    return session.scalar(select(Model).where(Model.task == task, Model.state == LIVE))


def model_before(session: Session, live: Model) -> Model | None:
    """Return the model that was live before this one was promoted; None if it was the first.

    A rollback takes the last promotion back: two of them lead two promotions back, and never in a
    circle, also where a model was promoted twice.
    """
    rows = session.execute(
        select(Promotion.kind, Promotion.before_id, Promotion.after_id)
        .where(Promotion.task == live.task)
        .order_by(Promotion.id)
    )
    way: list[int] = []  # models whose promotion was not taken back, the live one last
    for kind, before, after in rows:
        if kind == ROLLBACK:
            way = way[:-1] if way[-2:-1] == [after] else [after]
        elif before is None or way[-1:] == [before]:
            way.append(after)
        else:
            way = [before, after]
    found = way[-2] if len(way) > 1 and way[-1] == live.id else None
    return session.get(Model, found) if found is not None else None


def make_live(session: Session, model: Model, before: Model | None, change: Change) -> Promotion:
    """Make a model the live one, and write the history.

    The caller holds the lock ``CHANGING`` and has looked that ``before`` is the live one. The
    database allows one live model for each task, whatever a caller does.
    """
    now = datetime.now(UTC)
    if before is not None:
        before.state = RETIRED
        session.flush()
    model.state, model.alarm_at = LIVE, None
    row = Promotion(
        task=model.task,
        before_id=before.id if before else None,
        after_id=model.id,
        kind=change.kind,
        who=change.who,
        why=change.why,
        at=now,
        gate=model.gate if change.kind == PROMOTE else None,
    )
    session.add(row)
    session.flush()
    return row


def check_state(model: Model, *, force: bool = False) -> None:
    """Check that a model may be promoted.

    Raises:
        Conflict: it is live, or the gate has rejected it and nobody insists.
    """
    if model.state == LIVE:
        raise Conflict(f"model {model.id} is live already", expected=one_of((CANDIDATE, RETIRED)))
    if model.state == REJECTED and not force:
        reasons = "; ".join((model.gate or {}).get("reasons", ())) or "the gate refused it"
        raise Conflict(
            f"model {model.id} was rejected",
            expected="a candidate that passed the gate",
            got=reasons,
            remedy="To promote it all the same, say why, and force it.",
        )


def _relative(digest: str) -> str:
    return f"models/{digest}"


def _copy(source: Bundle[BundleSpec], target: Path) -> None:
    """Copy the files that a bundle lists, and wait until they are on the disk."""
    for name in (*source.spec.files, BUNDLE_FILE):
        file = target / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.directory / name, file)
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _rename(partial: Path, target: Path) -> None:
    try:
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # another process may have copied the same bundle
            raise
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
