"""A world through real images: a bundle's answers about images that training never saw.

The history must have been simulated with the rule ``seed``, as that of ``make demo``: the truth of
every candidate and of every alternate is then known.
"""

import csv
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augrank.arrays import Float32Array, Float64Array
from augrank.bundle.recommend_spec import RecommendBundle
from augrank.errors import AugrankError, BadRequest
from augrank.images.augmentations import ORIGINAL
from augrank.models.context import ContextEncoder
from augrank.models.head import Head, HeadRows
from augrank.models.targets import Direction
from augrank.reporting import Reporter
from augrank.tasks.recommend.alternates import Alternates
from augrank.tasks.recommend.pipeline import Recommender
from augrank.tasks.recommend.request import MAX_ALTERNATES, Request
from augrank.tasks.recommend.response import Answer, Score
from augrank.trust.estimator import Estimator
from augrank.trust.posterior import ImageEffects
from augrank.trust.verdict import decide, interval
from benchmarks.trust.decision_figures import Figures, Judged, figures
from simulation.engagement import probability_table

CANDIDATES, ALTERNATES = "real-candidates", "real-alternates"
TIMED_ROUNDS = 50
DIGITS = 9  # of mirrored truths: 1 - 0.8 is 0.2


@dataclass(frozen=True)
class RealInputs:
    """A bundle, the run that it was exported from, and the images of its catalogue."""

    bundle: RecommendBundle
    run: Path
    images: Path

    def held_out(self) -> list[Path]:
        """Return the image files of the test split.

        Raises:
            BadRequest: the run or an image is missing.
        """
        catalogue = self.run / "catalogue.csv"
        if not catalogue.is_file():
            raise BadRequest(
                "the run has no catalogue.csv",
                expected="the run directory of the bundle",
                got=str(self.run),
                remedy="Give it with --run.",
            )
        with catalogue.open(encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.DictReader(stream) if row["split"] == "test"]
        files = [self.images / row["relative_im_path"] for row in rows]
        if missing := [file for file in files if not file.is_file()]:
            raise BadRequest(
                f"{len(missing)} of {len(files)} images of the test split are missing",
                expected="the image folder of the run",
                got=str(missing[0]),
                remedy="Give it with --images.",
            )
        return files

    @contextmanager
    def tested(self) -> Iterator[RecommendBundle]:
        """Lend the bundle with the posteriors that are not fitted to the test split.

        Raises:
            BadRequest: the run lacks one.
        """
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "bundle"
            shutil.copytree(self.bundle.directory.resolve(), directory, copy_function=os.symlink)
            heads = [head for graph in self.bundle.spec.graphs.values() for head in graph.heads]
            for head in {head.posterior: head for head in heads}.values():
                file = self.run / head.tested_posterior
                if not file.is_file():
                    raise BadRequest(
                        "the run has no posterior without the test split",
                        expected="the run directory of the bundle",
                        got=str(file),
                        remedy="Give it with --run; fit an older run again.",
                    )
                (directory / head.posterior).unlink()
                (directory / head.posterior).symlink_to(file.resolve())
            yield replace(self.bundle, directory=directory)


def measure_real(inputs: RealInputs, reporter: Reporter) -> dict[str, list[Figures]]:
    """Send every held-out image for every target, and check the answers.

    Args:
        inputs: bundle, run and images.
        reporter: shows progress.

    Returns:
        The figures of each head: of candidates, and of alternates if the bundle has any. Contexts
        are drawn at random.
    """
    with inputs.tested() as bundle:
        return _measure(bundle, inputs.held_out(), reporter)


def _measure(
    bundle: RecommendBundle, files: Sequence[Path], reporter: Reporter
) -> dict[str, list[Figures]]:
    recommender, truth = Recommender(bundle), Truth(bundle)
    context, rng = ContextEncoder(bundle.spec.context), np.random.default_rng(0)
    judged: dict[str, dict[str, list[Judged]]] = {CANDIDATES: {}, ALTERNATES: {}}
    for file in reporter.track(files, "Held-out images", len(files), "images"):
        image = file.read_bytes()
        requests = [
            Request(image, head.target.name, context.draw(rng), alternates=MAX_ALTERNATES)
            for head in bundle.spec.heads
        ]
        for answer in recommender.recommend_batch(requests):
            if isinstance(answer, AugrankError):
                raise answer
            of_target = judged[CANDIDATES].setdefault(answer.target, [])
            of_target.append(truth.judge_candidates(answer))
            if answer.alternates:
                of_target = judged[ALTERNATES].setdefault(answer.target, [])
                of_target.append(truth.judge_alternates(answer))
    return {
        name: [{**figures(of_target), **cost} for of_target in judged[name].values()]
        for name, cost in _costs(bundle).items()
    }


class Truth:
    """The true probabilities of candidates under the rule ``seed``.

    An alternate is an unchanged image, so its truth is that of the original.
    """

    def __init__(self, bundle: RecommendBundle) -> None:
        names = bundle.spec.augmentations.names
        self._by_direction = {
            direction: dict(
                zip(names, probability_table(names, "seed", direction)[0, 0].tolist(), strict=True)
            )
            for direction in {head.target.direction for head in bundle.spec.heads}
        }

    def judge_candidates(self, answer: Answer) -> Judged:
        """Compare an answer's candidates with their truth."""
        others = [each for each in answer.candidates if each.name != ORIGINAL]
        truth = self._by_direction[answer.direction]
        names = [ORIGINAL, *(each.name for each in others)]
        original = next(each for each in answer.candidates if each.name == ORIGINAL)
        chosen = 0
        if answer.verdict.kind == "change":
            chosen = names.index(answer.best_candidate.name)
        return _judged(
            answer.direction,
            np.array([truth[name] for name in names]),
            [original, *others],
            chosen,
            unsure=answer.verdict.kind == "unsure",
        )

    def judge_alternates(self, answer: Answer) -> Judged:
        """Compare an answer's alternates with their truth."""
        truth = self._by_direction[answer.direction][ORIGINAL]
        original = next(each for each in answer.candidates if each.name == ORIGINAL)
        chosen, best = 0, answer.best_alternate
        if best is not None:
            paths = [each.path for each in answer.alternates]
            chosen = 1 + paths.index(best.path)
        return _judged(
            answer.direction,
            np.full(1 + len(answer.alternates), truth),
            [original, *answer.alternates],
            chosen,
            unsure=answer.alternate_verdict is not None
            and answer.alternate_verdict.kind == "unsure",
        )


def _judged(
    direction: Direction,
    truth: Float64Array,
    scores: Sequence[Score],
    chosen: int,
    *,
    unsure: bool,
) -> Judged:
    """Return scores as ``Judged``, whose probabilities are better if higher."""
    probability = np.array([each.probability for each in scores])
    ends = np.array([each.interval for each in scores]).T
    differences = np.array([each.difference_interval for each in scores[1:]]).T
    if direction == "minimize":
        truth, probability = (1 - truth).round(DIGITS), 1 - probability
        ends, differences = 1 - ends[::-1], -differences[::-1]
    better = np.array([each.better for each in scores[1:]])
    return Judged(truth, truth, probability, ends, differences, better, chosen, unsure)


@dataclass(frozen=True)
class _Offer:
    """A request for alternates of any type."""

    estimator: Estimator
    context: Float32Array
    product_type: str | None = None
    sha256: str = ""


def _costs(bundle: RecommendBundle) -> dict[str, Figures]:
    """Measure what a request takes more than XGBoost's margins, for the first target.

    Returns:
        ``added_ms``, for all candidates and for all alternates, and ``added_bytes`` of all targets.
    """
    spec, head = bundle.spec, bundle.spec.heads[0]
    estimator, plain = Estimator.load(head, bundle.directory), Head.load(head, bundle.directory)
    names = spec.augmentations.names
    context = ContextEncoder(spec.context).encode(ContextEncoder(spec.context).example())
    rng = np.random.default_rng(0)
    rows = HeadRows(
        np.arange(len(names)),
        rng.normal(size=(len(names), len(names))).astype(np.float32),
        rng.normal(size=(len(names), spec.feature_width)).astype(np.float32),
        context,
    )

    def decided(draws: Float64Array, reference: Float64Array) -> None:
        decide(draws, reference, head.target.direction)
        interval(draws)
        interval(draws - reference[:, None])

    def candidates() -> None:
        draws = estimator.candidates(rows, ImageEffects.unknown(1))
        decided(draws[:, 1:], draws[:, 0])

    size = sum((bundle.directory / each.posterior).stat().st_size for each in spec.heads)
    added = _median_ms(candidates) - _median_ms(lambda: plain.margin(rows))
    costs: dict[str, Figures] = {
        CANDIDATES: {"added_ms": (added, 1.0), "added_bytes": (float(size), 1.0)}
    }
    embedded = spec.graphs[spec.precision].alternates
    if spec.alternates is not None and embedded is not None:
        original = names.index(ORIGINAL)
        catalogue = Alternates.load(spec.alternates, embedded, bundle.directory, original)
        offer = _Offer(estimator, context)
        reference = estimator.candidates(rows, ImageEffects.unknown(1))[:, 0]

        def alternates() -> None:
            predicted = catalogue.predict(offer)
            assert predicted is not None
            decided(predicted[1], reference)

        added = _median_ms(alternates)
        costs[ALTERNATES] = {"added_ms": (added, 1.0)}
    return costs


def _median_ms(call: Callable[[], object]) -> float:
    """Return the median time of a call, after a first one that fills caches."""
    call()
    seconds = []
    for _ in range(TIMED_ROUNDS):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return 1e3 * float(np.median(seconds))
