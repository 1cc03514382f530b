"""Train and export candidates as commands: ``python -m training fit``, ``python -m export build``.

FOLDER/candidates.json          the options of all, decided once
FOLDER/candidates/N/fit.yaml    of one, for ``training fit --config``
FOLDER/candidates/N/run, dist   what the commands wrote (spent.py), and their output in log.txt
FOLDER/candidates/N/done.json   digest of its bundle, or why there is none, and in which try
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from augrank.bundle.classify_spec import ClassifySpec
from augrank.bundle.load import load_bundle
from augrank.contracts.run import RUN_FILE
from augrank.files import read_json, write_json
from service.errors import Conflict
from service.models.compatible import check_compatible
from service.retraining.candidates import (
    Start,
    candidate_options,
    fixed_options,
    options_of_bundle,
    write_rules,
)
from service.retraining.data.dataset import TRAIN, read_rows
from service.retraining.data.files import Root
from service.retraining.jobs import RetrainOptions
from service.retraining.process import Ended, Share, run_command
from service.retraining.versions import ROWS, TRAIN_FILE

TRIES = 2  # of a command that was killed, such as for its memory
CACHE_GB = 5.0  # of decoded images, which candidates share


class Say(Protocol):
    """Adds a line to the job's log."""

    def __call__(self, text: str, *, often: bool = False) -> None:
        """Add it; of lines that come often, one now and then."""


class Halted(Protocol):
    """Tells whether to end soon."""

    def __call__(self) -> bool:
        """Return whether."""


class Trainer:
    """Trains the candidates of a job.

    Args:
        root: of retraining.
        job_id: of the job.
        share: of the machine, for the commands.
        halted: whether to end soon; a command goes on at the next start.
        say: adds a line to the job's log.
        retries: how often people have tried the job again; what failed before is not done.
    """

    def __init__(
        self, root: Root, job_id: int, share: Share, halted: Halted, say: Say, *, retries: int = 0
    ) -> None:
        self._root, self._folder, self._job_id = root, root.job(job_id), job_id
        self._share, self._halted, self._say = share, halted, say
        self._retries = retries

    def remember(self, bundle: str, options: Mapping[str, Any]) -> None:
        """Note the run that a bundle comes from.

        Args:
            bundle: its digest.
            options: of the run, with ``weights_file``; nothing is noted without.
        """
        if options.get("weights_file"):
            write_json(self._root.run_of(bundle), dict(options))

    def plan(
        self, dataset: Path, live: str, bundle: Path, given: RetrainOptions
    ) -> list[dict[str, Any]]:
        """Return the options of all candidates, the same after an interrupt.

        Args:
            dataset: folder of the version.
            live: digest of the live bundle.
            bundle: its folder.
            given: of the job.
        """
        file = self._folder / "candidates.json"
        if not file.exists():
            start = self._start(live, bundle, given)
            rows = [row for row in read_rows(dataset / ROWS) if row.set == TRAIN]
            spec = load_bundle(bundle, ClassifySpec).spec
            fixed = fixed_options(
                dataset / TRAIN_FILE,
                self._root.images,
                groups=sorted({name for row in rows for name in row.groups}),
                scores=[name for name in spec.ranks if any(name in row.scores for row in rows)],
                labels=[name for name in spec.labels if any(name in row.labels for row in rows)],
            )
            plan = [each | fixed for each in candidate_options(start, given.candidates)]
            write_json(file, {"candidates": plan})
        return list(read_json(file)["candidates"])

    def done(self, count: int | None = None) -> list[dict[str, Any]]:
        """Return what came of the candidates, in their order."""
        total = count or len(read_json(self._folder / "candidates.json")["candidates"])
        return [
            {"number": number, **read_json(self._place(number) / "done.json")}
            for number in range(total)
        ]

    def finish(self, number: int, options: Mapping[str, Any], live: Path) -> bool:
        """Train and export a candidate, unless that is done; return False if it was stopped.

        Args:
            number: of the candidate.
            options: of ``training fit``.
            live: the live bundle, whose rules and tags it gets.
        """
        place = self._place(number)
        if self._is_done(place):
            return True
        place.mkdir(parents=True, exist_ok=True)
        own = {"threads": self._share.threads, "cache": str(self._root.path / "cache"),
               "cache_gb": CACHE_GB}  # fmt: skip
        write_json(place / "fit.yaml", {**own, **options, "out": str(place / "run")})
        self._say(f"candidate {number + 1}: " + _in_words(options))
        name = load_bundle(live, ClassifySpec).spec.name
        fit = ("-m", "training", "fit", "--config", str(place / "fit.yaml"))
        build = ("-m", "export", "build", str(place / "run"), "--out", str(place / "dist"),
                 "--name", name, "--version", f"retrain-{self._job_id}.{number + 1}",
                 *write_rules(live, place))  # fmt: skip
        for command in (fit, build):
            ended = self._run(command, place / "log.txt", number)
            if ended.code is None:
                return False
            if ended.code != 0:
                last = ended.tail.rpartition("\n")[2]
                self._say(f"candidate {number + 1} failed: {ended.tail}")
                self._give_up(place, f"candidate {number + 1}: {last}")
                return True
        self._settle(place, live, number)
        return True

    def _is_done(self, place: Path) -> bool:
        """Return whether a candidate has a bundle, or has failed in this try."""
        if not (place / "done.json").exists():
            return False
        done = read_json(place / "done.json")
        return "digest" in done or done.get("retries", 0) == self._retries

    def _give_up(self, place: Path, error: str) -> None:
        """Note why there is no bundle, such as a full disk: until people try the job again."""
        write_json(place / "done.json", {"error": error, "retries": self._retries})

    def _run(self, command: tuple[str, ...], log: Path, number: int) -> Ended:
        def seen(line: str) -> None:
            self._say(f"candidate {number + 1}: {line}", often=True)

        for _ in range(TRIES):
            ended = run_command(command, log, share=self._share, stopped=self._halted, seen=seen)
            if ended.code is None or ended.code >= 0:
                break
        return ended

    def _settle(self, place: Path, live: Path, number: int) -> None:
        """Note the bundle, and the run that it comes from; or that it cannot replace the live one.

        A dataset without a class of the live model makes such candidates.
        """
        bundle, run = load_bundle(place / "dist/bundle", ClassifySpec), place / "run"
        try:
            check_compatible(bundle.spec, load_bundle(live, ClassifySpec).spec)
        except Conflict as error:
            self._give_up(place, f"candidate {number + 1}: {error}")
            return
        record = read_json(run / RUN_FILE)
        weights = {"weights_file": str(run / record["weights_file"])}
        self.remember(bundle.digest, record["config"] | weights)
        done = {"digest": bundle.digest, "bundle": str(bundle.directory)}
        write_json(place / "done.json", done)

    def _start(self, live: str, bundle: Path, given: RetrainOptions) -> Start:
        """Find what candidates start from: the live model's weights, where they fit."""
        file = self._root.run_of(live)
        options = read_json(file) if file.exists() else options_of_bundle(bundle)
        weights = options.get("weights_file")
        other = given.settings.get("backbone", options["backbone"]) != options["backbone"]
        if other or not weights or not Path(weights).is_file():
            weights = None
        return Start(options=options, weights=weights, settings=given.settings)

    def _place(self, number: int) -> Path:
        return self._folder / "candidates" / str(number + 1)


def _in_words(options: Mapping[str, Any]) -> str:
    names = ("backbone", "image_size", "epochs", "learning_rate", "freeze", "class_weights",
             "label_smoothing", "average", "weight_decay")  # fmt: skip
    start = "as the live model was" if options.get("weights", "none") in ("none", "imagenet") \
        else "from the live model's weights"  # fmt: skip
    told = [f"{name} {options[name]}" for name in names if options.get(name)]
    return f"{start}, " + ", ".join(told)
