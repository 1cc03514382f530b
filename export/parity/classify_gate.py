"""The parity gate of the task ``classify``: does the archive tell what training told?

The reference of a graph is what it computed during training for held-out images (of fp32, what
torch computed), scored by its own heads. It is compared with the handler inside the finished
archive, which gets the image files.

A rank counts as a label of two classes: whether an image beats the median of the calibration
images.

``other_class``
    Share of answers with another most probable class. Where the reference's two most probable
    classes are nearly equally so, either is right.
``probability_difference``
    How far the probability of the reference's most probable class is off: the mean over answers.
``embedding_cosine``
    The lowest cosine similarity of features and logits: what no head happens to use. Rows that are
    nearly zero count less.
"""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from augrank.arrays import Float64Array
from augrank.bundle.classify_spec import ClassifySpec, LabelParity
from augrank.bundle.graphs import Way
from augrank.bundle.smoke import SmokeAnswer, SmokeRequest
from augrank.contracts.classify_run import ClassifyRun
from augrank.contracts.run import GraphRecord, Precision
from augrank.images.augmentations import ORIGINAL, Augmentation
from augrank.images.decode import FOREIGN, decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.engines import Device
from augrank.models.label_head import LabelHead
from augrank.models.rank_head import RankHead
from augrank.reporting import ShowStatus, Table
from export.parity.archive import ask_archive
from export.parity.figures import ParityError, tolerance_of
from export.parity.ways import lowest_cosine, trained_as
from export.run_reader import Run, damaged

NEAR_TIE = 0.05  # between the two most probable classes
MAX_OTHER = 0.01  # share of answers; one other answer is always allowed
MAX_DRIFT = 1e-3  # of a figure, between two archives of the same graph
RANK_CLASSES = ("below the median", "above the median")
AS_IT_IS = (Augmentation(name=ORIGINAL),)


@dataclass(frozen=True)
class _Told:
    """What one head says of the held-out images."""

    name: str  # of the label or the rank
    classes: tuple[str, ...]  # RANK_CLASSES of a rank
    probability: Float64Array  # (P, K)


def parity_table(spec: ClassifySpec) -> Table:
    """Return the figures of a finished bundle as a table; default graphs are marked."""
    passed = {
        Way(precision, device).label
        for device in get_args(Device)
        for precision in spec.passed.get(device, ())
    }
    rows = [
        (
            label,
            "passed" if label in passed else "by name only",
            str(figures.images),
            f"{figures.other_class:.1%}",
            f"{figures.probability_difference:.4f}",
            f"{figures.embedding_cosine:.5f}",
        )
        for label, figures in spec.parity.items()
    ]
    columns = ("graph", "gate", "images", "other class", "|Δp|", "cosine")
    return Table("Parity with training, through the archive", columns, rows)


def missed_tolerances(
    figures: Mapping[Way, LabelParity], graphs: Mapping[Precision, GraphRecord]
) -> dict[Way, list[str]]:
    """Return the tolerances that each way missed."""
    missed: dict[Way, list[str]] = {}
    for way, each in figures.items():
        tolerance = tolerance_of(way, graphs[trained_as(way.precision)].device)
        found = []
        if not each.embedding_cosine >= tolerance.embedding_cosine:  # NaN misses it too
            found.append(
                f"embedding_cosine {each.embedding_cosine} (at least {tolerance.embedding_cosine})"
            )
        bounds = {
            "probability_difference": tolerance.probability_difference,
            "other_class": max(MAX_OTHER, round(1 / each.images, 6)),
        }
        for name, bound in bounds.items():
            if not getattr(each, name) <= bound:
                found.append(f"{name} {getattr(each, name)} (at most {bound})")
        missed[way] = found
    return missed


class ClassifyGate:
    """Compares archives with what training said of the held-out images."""

    def __init__(self, run: Run[ClassifyRun], progress: ShowStatus) -> None:
        self._run, self._progress = run, progress
        self._references = {precision: run.reference(precision) for precision in run.record.graphs}
        self._paths = self._references["fp32"].paths
        rows = {row.path: row for row in run.catalogue}
        for path in self._paths:
            with damaged(run.directory / run.record.catalogue):
                row = rows[path]
            run.image_bytes(row)  # raises if the image has changed since training
        self._expected = {
            precision: self._told_in_training(precision) for precision in run.record.graphs
        }
        self._answers: dict[Way, list[Mapping[str, Any]]] = {}

    def _told_in_training(self, precision: Precision) -> list[_Told]:
        features = self._references[precision].features[:, 0]
        directory, graph = self._run.directory, self._run.record.graphs[precision]
        told = []
        for label in graph.heads:
            head = LabelHead.load(label, directory)
            told.append(_Told(label.label, label.classes, head.probabilities(features)))
        for rank in graph.rankers:
            ranker = RankHead.load(rank, directory)
            above = ranker.probabilities(ranker.scores(features))
            told.append(_Told(rank.rank, RANK_CLASSES, np.stack([1 - above, above], axis=1)))
        return told

    def measure(self, archive: Path, way: Way) -> LabelParity:
        """Compute the figures of one graph, with answers of the archive's own handler."""
        self._progress(f"parity gate: testing the archive ({way.label})")
        trained = trained_as(way.precision)
        reference, images = self._references[trained], self._run.record.images
        cosine = lowest_cosine(images, reference, archive, way, AS_IT_IS)
        self._answers[way] = self._ask(archive, way.device, way.precision)
        return self._compare(self._expected[trained], self._answers[way], cosine)

    def confirm(self, archive: Path, way: Way, figures: LabelParity) -> None:
        """Check that the finished archive, which chooses its own graph, has the same figures.

        Args:
            archive: complete.
            way: the graph that it should choose, on the CPU.
            figures: of that graph.

        Raises:
            ParityError: the figures differ.
        """
        self._progress("parity gate: testing the finished archive")
        got = self._ask(archive, "cpu", None)
        again = self._compare(self._expected[way.precision], got, figures.embedding_cosine)
        drift = max(
            abs(getattr(again, name) - getattr(figures, name)) for name in LabelParity.model_fields
        )
        if not drift <= MAX_DRIFT:
            raise ParityError(f"the finished archive differs from the one that passed: {again}")

    def smoke_request(self, backbones: Mapping[Way, Backbone]) -> SmokeRequest:
        """Return a request with the answers of these graphs, for testing servers.

        It is the image whose answers differ least between training and all measured ways.

        Args:
            backbones: a measured way of each graph.
        """
        apart = np.zeros(len(self._paths))
        for way, answers in self._answers.items():
            for told in self._expected[trained_as(way.precision)]:
                difference = np.abs(_probabilities(told, answers) - told.probability).max(axis=1)
                apart = np.maximum(apart, difference)
        best, record = int(np.argmin(apart)), self._run.record
        image = (record.images / self._paths[best]).read_bytes() + FOREIGN
        pixels = decode(image, record.image_size).pixels
        batch = Normalizer(record.mean, record.std).batch([pixels])

        def answer(way: Way, backbone: Backbone) -> SmokeAnswer:
            answered = self._answers[way][best]
            probabilities = {
                f"{label}: {each['name']}": each["probability"]
                for label, told in answered["labels"].items()
                for each in told["top"]
            }
            for rank, told in answered["ranks"].items():
                probabilities[f"{rank}, rank"] = told["probability"]
            return SmokeAnswer(way.device, probabilities, None, backbone.embed(batch).features[0])

        return SmokeRequest(
            {"image": base64.b64encode(image).decode()},
            {way.precision: answer(way, each) for way, each in backbones.items()},
        )

    def _ask(
        self, archive: Path, device: Device, precision: Precision | None
    ) -> list[Mapping[str, Any]]:
        """Return the archive's answers for the held-out images, with all classes.

        Args:
            archive: a ``.mar``.
            device: for its handler.
            precision: of the graph; None leaves the choice to the archive.
        """
        most = max(len(told.classes) for told in self._expected["fp32"])
        requests = []
        with tempfile.TemporaryDirectory(prefix="augrank-parity-") as folder:
            for number, path in enumerate(self._paths):
                file = Path(folder) / str(number)
                file.write_bytes((self._run.record.images / path).read_bytes() + FOREIGN)
                requests.append({"image": str(file), "fields": {"top": str(most)}})
            answers = ask_archive(archive, requests, device, precision)
        for answer in answers:
            if answer["status"] != 200:
                message = answer["body"]["error"]["message"]
                raise ParityError(f"the archive rejects a held-out image: {message}")
        return [answer["body"]["images"][0] for answer in answers]

    def _compare(
        self, expected: Sequence[_Told], got: Sequence[Mapping[str, Any]], cosine: float
    ) -> LabelParity:
        others, differences = [], []
        for told in expected:
            probability = _probabilities(told, got)
            ranked = np.sort(told.probability, axis=1)
            tie = ranked[:, -1] - ranked[:, -2] < NEAR_TIE
            best, rows = told.probability.argmax(axis=1), np.arange(len(got))
            others.append((probability.argmax(axis=1) != best) & ~tie)
            differences.append(np.abs(probability[rows, best] - told.probability[rows, best]))
        return LabelParity(
            images=len(got),
            other_class=round(float(np.mean(others)), 6),
            probability_difference=round(float(np.mean(differences)), 6),
            embedding_cosine=round(cosine, 6),
        )


def _probabilities(told: _Told, answers: Sequence[Mapping[str, Any]]) -> Float64Array:
    """Return the probabilities of a label or a rank in answers, (P, K), by class."""
    if told.classes == RANK_CLASSES:
        above = np.array([answer["ranks"][told.name]["probability"] for answer in answers])
        return np.stack([1 - above, above], axis=1)
    rows = []
    for answer in answers:
        shown = {each["name"]: each["probability"] for each in answer["labels"][told.name]["top"]}
        rows.append([shown[name] for name in told.classes])
    return np.array(rows)
