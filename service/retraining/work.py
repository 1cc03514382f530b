"""Go through the stages of a retraining: the work of its ``JobWorker``.

A stage writes its files whole and then, in one transaction, its rows and the name of the next
stage. So each runs once, and again from its start only if its process was killed in between.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from augrank.errors import AugrankError, DataError
from augrank.files import read_json, write_json
from service.database.session import Database
from service.database.tables import Dataset, Model
from service.images.store import ImageStore
from service.jobs.queue import REVIEW, note
from service.jobs.worker import Claim
from service.models.evaluation import keep_evaluation, read_evaluation
from service.models.gate import GateSettings
from service.models.registry import LIVE, RETIRED, Origin, Registry
from service.retraining.collect import (
    check_items,
    classes_of,
    collect,
    copies,
    holding,
    pictures_of,
    write_checks,
)
from service.retraining.data.dataset import read_rows
from service.retraining.data.files import Root
from service.retraining.jobs import END, last_dataset
from service.retraining.process import Priority, Share, run_command
from service.retraining.review import FILTERS, accept_proposals, left_of
from service.retraining.spent import remove_spent
from service.retraining.steps import base, check, evaluate
from service.retraining.training import Trainer
from service.retraining.turn import LostJobError, Turn
from service.retraining.verdict import Verdict, judge_candidates
from service.retraining.versions import ROWS, Version, add_version, next_version, version_folder

TASK = "classify"
REJECTED_INPUT = 2  # exit status of a step that says what is wrong with its input


class Promote(Protocol):
    """Makes a model the live one."""

    def __call__(self, model_id: int, who: str, expected: str) -> object:
        """Do it, if the live model is the one that it was compared with.

        Args:
            model_id: of the model.
            who: decides it.
            expected: digest of the live model.

        Raises:
            AugrankError: it is not, or the model may not be promoted.
        """


@dataclass(frozen=True)
class Retraining:
    """What a retraining needs of the service.

    Attributes:
        database: with the jobs.
        images: where corrected files are kept for good.
        registry: of models.
        folder: of the service.
        threads: of commands; None: all cores but one.
        priority: of commands.
        gate: how strict it is.
        promote: makes a model the live one; None: only people do.
    """

    database: Database
    images: ImageStore
    registry: Registry
    folder: Path
    threads: int | None = None
    priority: Priority = "idle"
    gate: GateSettings = field(default_factory=GateSettings)
    promote: Promote | None = None


class RetrainWork:
    """Does what is left of a retraining.

    Args:
        parts: what it needs of the service.
    """

    def __init__(self, parts: Retraining) -> None:
        self._parts, self._root = parts, Root(parts.folder)
        self._share = Share.of(parts.threads, parts.priority)
        self._stages: dict[str, Callable[[Turn], bool]] = {
            "collect": self._collect,
            "base": self._base,
            "filter": self._filter,
            "review": self._review,
            "dataset": self._dataset,
            "train": self._train,
            "evaluate": self._evaluate,
            "decide": self._decide,
        }

    def __call__(self, claim: Claim) -> bool:
        """Go through the stages until the last, a review, or a stop."""
        turn = Turn(self._parts.database, claim)
        try:
            while not turn.halted():
                stage = turn.stage()
                if stage == END:
                    remove_spent(self._parts.database, self._root, turn.job_id)
                    return True
                if not self._stages[stage](turn):
                    return False
        except LostJobError:
            return False
        return False

    # --- the stages, in the order of STAGES; each returns whether the next one may begin ----------

    def _collect(self, turn: Turn) -> bool:
        """Note the fixes that no dataset has settled."""
        classes = classes_of(self._live_bundle())
        with self._parts.database.reads() as session:
            parent = last_dataset(session)
        with turn.advance(parent=parent.id if parent else None) as session:
            count, missing = collect(session, turn.job_id, classes, self._parts.images)
            if not count and (parent is not None or turn.options.base is None):
                raise DataError(
                    "there is nothing new to learn from",
                    expected="fixes of labels that the live model tells, with their image files",
                    got=_told_of_missing(missing) or "none since the last retraining",
                )
            note(session, turn.job_id, f"{count} fixes since the last retraining")
            if missing:
                note(session, turn.job_id, _told_of_missing(missing))
        return True

    def _base(self, turn: Turn) -> bool:
        """Take over what the live model was trained on, unless a dataset is there already."""
        given, folder = turn.options, self._root.job(turn.job_id)
        with self._parts.database.reads() as session:
            parent, pictures = last_dataset(session), copies(session)
        text = "nothing but fixes is learned from: no --base was given"
        if parent is not None:
            text = f"version {parent.id} of the dataset is extended"
        elif given.base is not None:
            bundle = self._live_bundle()
            asked = {"base": str(Path(given.base).absolute()), "root": str(self._root.path),
                     "images": str(Path(given.images).absolute()) if given.images else None,
                     "pictures": pictures, **labels_of(bundle)}  # fmt: skip
            write_json(folder / base.REQUEST, asked)
            if not self._step(turn, "base", folder, folder / base.RESULT):
                return False
            found = read_json(folder / base.RESULT)
            self._trainer(turn).remember(self._live().digest, found["options"])
            text = f"{found['rows']:,} images of {given.base}, {found['left_out']:,} left out"
            if not found["known_split"]:
                text += "; nobody knows which of them the live model has learned: tests favour it"
        with turn.advance() as session:
            note(session, turn.job_id, text)
        return True

    def _filter(self, turn: Turn) -> bool:
        """Look for what speaks against each fix."""
        folder = self._root.job(turn.job_id)
        with self._parts.database.reads() as session:
            items = check_items(session, turn.job_id, self._parts.images)
            dataset = version_folder(self._root, last_dataset(session), folder)
            held = sorted(holding(session))
            digests = [each["sha256"] for each in items]
            digests += [row.picture for row in read_rows(dataset / ROWS)] if dataset else []
            pictures = pictures_of(session, digests)
        asked = {"items": items, "dataset": str(dataset) if dataset else None, "holding": held,
                 "bundle": str(self._live_bundle()), "images": str(self._root.images),
                 "pictures": pictures, "min_side": turn.options.min_side,
                 "threads": self._share.threads}  # fmt: skip
        write_json(folder / check.REQUEST, asked)
        if not self._step(turn, "check", folder, folder / check.RESULT):
            return False
        checked = read_json(folder / check.RESULT)["items"]
        with turn.advance() as session:
            doubtful = write_checks(session, checked)
            note(session, turn.job_id, f"the filters object to {doubtful} of {len(items)} fixes")
        return True

    def _review(self, turn: Turn) -> bool:
        """Wait for people, without a worker."""
        if not turn.options.review:
            with turn.advance() as session:
                accept_proposals(session, turn.job_id, FILTERS)
            return True
        with turn.ours() as (session, job):
            total, left = left_of(session, turn.job_id)
            if left:
                job.state, job.worker = REVIEW, None
                note(session, job.id, f"{left} of {total} fixes wait for a review: /review")
                return False
        with turn.advance():
            return True

    def _dataset(self, turn: Turn) -> bool:
        """Write the next version of the dataset."""
        folder = self._root.job(turn.job_id)
        with self._parts.database.reads() as session:
            version = next_version(session, turn.job_id, self._root, folder, self._parts.images)
        with turn.advance(dataset=version.digest) as session:
            row = add_version(session, turn.job_id, version, self._parts.folder)
            for line in _told_of(version, row):
                note(session, turn.job_id, line)
        return True

    def _train(self, turn: Turn) -> bool:
        """Train and export the candidates, one after the other."""
        live = self._live()
        trainer = self._trainer(turn)
        dataset = self._root.dataset(turn.job().options["dataset"])
        plan = trainer.plan(dataset, live.digest, self._live_bundle(), turn.options)
        for number in range(len(plan)):
            if not trainer.finish(number, plan[number], self._live_bundle()):
                return False
        done = trainer.done(len(plan))
        if not any("digest" in each for each in done):
            errors = "; ".join(each["error"] for each in done)
            raise DataError("no candidate could be trained", got=errors,
                            remedy="The logs are in the job's folder. Try it again.")  # fmt: skip
        with turn.advance() as session:
            good = sum("digest" in each for each in done)
            note(session, turn.job_id, f"{good} of {len(done)} candidates were trained")
        return True

    def _evaluate(self, turn: Turn) -> bool:
        """Ask the live model and the candidates about the same test pictures."""
        job, folder = turn.job(), self._root.job(turn.job_id)
        dataset, done = job.options["dataset"], self._trainer(turn).done()
        live = self._live()
        bundles = {live.digest: self._live_bundle()}
        bundles |= {each["digest"]: Path(each["bundle"]) for each in done if "digest" in each}
        for digest, bundle in bundles.items():
            out = folder / "evaluation" / f"{digest}.jsonl"
            place = folder / "evaluation" / digest[:16]
            place.mkdir(parents=True, exist_ok=True)
            asked = {"bundle": str(bundle), "dataset": str(self._root.dataset(dataset)),
                     "images": str(self._root.images), "threads": self._share.threads,
                     "out": str(out)}  # fmt: skip
            write_json(place / evaluate.REQUEST, asked)
            if not self._step(turn, "evaluate", place, out):
                return False
        with turn.advance(live=live.digest) as session:
            note(session, turn.job_id, f"{len(bundles)} models were asked about the test sets")
        return True

    def _decide(self, turn: Turn) -> bool:
        """Let the gate choose a candidate, or none, and add all to the models."""
        job, folder = turn.job(), self._root.job(turn.job_id)
        live, done = job.options["live"], self._trainer(turn).done()
        paths = {
            name: folder / "evaluation" / f"{name}.jsonl"
            for name in [live, *(each["digest"] for each in done if "digest" in each)]
        }
        told = {name: read_evaluation(path) for name, path in paths.items()}
        rows = read_rows(self._root.dataset(job.options["dataset"]) / ROWS)
        corrected = {(row.sha256, label) for row in rows for label in row.fixes}
        verdict = judge_candidates(told.pop(live), told, self._parts.gate, corrected)
        model = self._register(turn, verdict, paths, live)
        reasons = list(verdict.reasons)
        if model is not None and turn.options.promote:
            reasons.append(self._promote(turn, model, live))
        result = {
            **verdict.as_json(),
            "candidates": _with_figures(done, verdict),
            "model_id": model.id if model else None,
        }
        with turn.advance(result=result) as session:
            note(session, turn.job_id, ". ".join(reasons))
        return True

    def _promote(self, turn: Turn, model: Model, compared: str) -> str:
        """Let the chosen model answer instead of the one that it was compared with.

        Return what came of it: where people have changed the live model, they decide.
        """
        now = self._live()
        if now.id == model.id:
            return f"model {model.id} answers now"
        left = f"model {model.id} was not promoted, people decide: "
        if model.state == RETIRED:  # after this job, whose process was killed, had promoted it
            return left + f"model {now.id} has replaced it"
        if now.digest != compared:
            return left + f"it was compared with {compared[:12]}, and model {now.id} answers now"
        if self._parts.promote is None:
            return left + "nothing here can promote it"
        try:
            self._parts.promote(model.id, f"retraining {turn.job_id}", expected=compared)
        except AugrankError as error:  # somebody was quicker, or it does not load
            return left + str(error)
        return f"model {model.id} answers now"

    # --- what the stages share ---------------------------------------------------------------

    def _register(
        self, turn: Turn, verdict: Verdict, paths: Mapping[str, Path], live: str
    ) -> Model | None:
        """Add the candidates to the models: the chosen one, and those that the gate rejected.

        Return the chosen one; None: there is none.
        """
        registry, chosen = self._parts.registry, None
        dataset = turn.job().options["dataset"]
        bundles = {
            each["digest"]: Path(each["bundle"])
            for each in self._trainer(turn).done()
            if "digest" in each
        }
        for digest in paths:
            keep_evaluation(paths[digest], self._parts.folder, digest)
        for digest, bundle in bundles.items():
            origin = Origin(parent=live, dataset=dataset, metrics=verdict.figures(digest))
            model, good = registry.add(bundle, origin), digest == verdict.chosen
            if model.state not in (LIVE, RETIRED):  # promoted, before the process was killed
                model = registry.decide(model.id, verdict.of(digest), promote=good)
            if good:
                chosen = model
        return chosen

    def _live(self) -> Model:
        live = self._parts.registry.live(TASK)
        if live is None:
            raise DataError(
                "there is no live classifier to do better than",
                expected="a bundle of the task classify",
                remedy="Start the service with one: python -m service BUNDLE.",
            )
        return live

    def _live_bundle(self) -> Path:
        return self._parts.registry.directory(self._live()).absolute()

    def _trainer(self, turn: Turn) -> Trainer:
        return Trainer(
            self._root, turn.job_id, self._share, turn.halted, turn.say, retries=turn.retries
        )

    def _step(self, turn: Turn, name: str, folder: Path, result: Path) -> bool:
        """Run a step unless its result is there; return False if it was stopped.

        Raises:
            DataError: its input cannot be used.
        """
        if result.exists():
            return True
        log = folder / f"{name}.log"
        command = ("-m", "service.retraining.steps", name, str(folder))
        ended = run_command(command, log, share=self._share, stopped=turn.halted)
        if ended.code is None:
            return False
        if ended.code == REJECTED_INPUT:
            raise DataError(ended.tail.rpartition("\n")[2])
        if ended.code != 0 or not result.exists():
            raise RuntimeError(f"the step {name} ended with {ended.code}: {ended.tail}")
        return True


def labels_of(bundle: Path) -> dict[str, list[str]]:
    """Return the labels and ranks of a bundle, by these names."""
    from augrank.bundle.classify_spec import ClassifySpec
    from augrank.bundle.load import load_bundle

    spec = load_bundle(bundle, ClassifySpec).spec
    return {"labels": list(spec.labels), "ranks": list(spec.ranks)}


def _told_of(version: Version, row: Dataset) -> list[str]:
    change = version.change
    lines = [
        f"version {row.id} of the dataset, {version.digest[:12]}: {change.added} pictures added, "
        f"{change.pruned} labels of fixes that do not hold any more taken back, {change.disputed} "
        "left out about which fixes disagree"
    ]
    if change.withdrawn:
        lines.append(f"{change.withdrawn} fixes were left out: they do not hold any more")
    if version.leaked:
        lines.append(
            f"{version.leaked} pictures are not trained on any more: a test picture shows the same"
        )
    return [*lines, *([_told_of_missing(len(version.missing))] if version.missing else [])]


def _told_of_missing(count: int) -> str:
    return f"{count} fixes wait for a later retraining: their image files are missing" * bool(count)


def _with_figures(done: list[dict[str, Any]], verdict: Verdict) -> list[dict[str, Any]]:
    return [each | (verdict.figures(each["digest"]) if each.get("digest") else {}) for each in done]
