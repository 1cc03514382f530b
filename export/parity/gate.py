"""The parity gate of the task ``recommend``.

The reference of a graph is what it computed during training for the candidates of held-out images
(of fp32, what torch computed), scored by its own heads and posteriors in the run. It is compared
with the handler inside the finished archive, which gets the image files. The two sides share only
the files of the run. ``figures.py`` tells what is compared, and why.
"""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from augrank.bundle.graphs import Way
from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import ParityFigures, RecommendSpec
from augrank.bundle.smoke import SmokeAnswer, SmokeRequest
from augrank.contracts.recommend_run import RecommendRun
from augrank.contracts.run import GraphRecord, Precision
from augrank.images.decode import FOREIGN, decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.engines import Device
from augrank.reporting import ShowStatus, Table
from augrank.tasks.recommend.request import MAX_ALTERNATES
from export.parity.answers import GateAnswer
from export.parity.archive import ask_archive
from export.parity.figures import ParityError, compare, shortfalls, tolerance_of
from export.parity.reference import ParityRequest, TrainedGraph, held_out_requests
from export.parity.ways import lowest_cosine, trained_as
from export.run_reader import Run, damaged

MAX_DRIFT = 1e-3  # of a figure, between two archives of the same graph


def parity_table(spec: RecommendSpec) -> Table:
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
            str(figures.requests),
            f"{figures.regret:.4f}",
            f"{figures.verdict_changes:.1%}",
            f"{figures.probability_difference:.4f}",
            f"{figures.embedding_cosine:.5f}",
        )
        for label, figures in spec.parity.items()
    ]
    columns = ("graph", "gate", "requests", "regret", "other verdict", "|Δp|", "cosine")
    return Table("Parity with training, through the archive", columns, rows)


def missed_tolerances(
    figures: Mapping[Way, ParityFigures], graphs: Mapping[Precision, GraphRecord]
) -> dict[Way, list[str]]:
    """Return the tolerances that each way missed."""
    return {
        way: shortfalls(each, tolerance_of(way, graphs[trained_as(way.precision)].device))
        for way, each in figures.items()
    }


class ParityGate:
    """Compares archives with the references' answers to the gate's requests."""

    def __init__(self, run: Run[RecommendRun], progress: ShowStatus) -> None:
        self._run, self._progress = run, progress
        self._trained = {precision: TrainedGraph(run, precision) for precision in run.record.graphs}
        self._paths = self._trained["fp32"].reference.paths
        rows = {row.path: row for row in run.catalogue}
        for path in self._paths:
            with damaged(run.directory / run.record.catalogue):
                row = rows[path]
            run.image_bytes(row)  # raises if the image has changed since training
        self._requests = held_out_requests(run, len(self._paths))
        self._expected = {
            precision: [trained.answer(request) for request in self._requests]
            for precision, trained in self._trained.items()
        }
        self._answers: dict[Way, list[GateAnswer]] = {}

    def measure(self, archive: Path, way: Way) -> ParityFigures:
        """Compute the figures of one graph, with answers of the archive's own handler."""
        self._progress(f"parity gate: testing the archive ({way.label})")
        trained = trained_as(way.precision)
        with open_bundle(archive, RecommendSpec) as bundle:
            candidates = bundle.spec.augmentations.augmentations
        reference, images = self._trained[trained].reference, self._run.record.images
        cosine = lowest_cosine(images, reference, archive, way, candidates)
        got = self._read(self._ask(archive, way.device, way.precision, self._questions()))
        self._answers[way] = got
        return compare(self._expected[trained], got, cosine)

    def smoke_request(self, backbones: Mapping[Way, Backbone]) -> SmokeRequest:
        """Return a request with the answers of these graphs, for testing servers.

        Its verdict is no near-tie, if there is such a request, and its answer differs least between
        training and all ways that were measured: far from any split of a tree, it is the same on
        other processors too.

        Args:
            backbones: a measured way of each graph.
        """
        apart, weak = np.zeros(len(self._requests)), np.zeros(len(self._requests), np.bool_)
        for way, answers in self._answers.items():
            pairs = list(zip(self._expected[trained_as(way.precision)], answers, strict=True))
            differences = [np.abs(one.answer.shown - other.shown).max() for one, other in pairs]
            apart = np.maximum(apart, differences)
            weak |= [not (one.firm and one.agrees(other)) for one, other in pairs]
        best = int(np.lexsort((apart, weak))[0])
        request, image = self._requests[best], self._image(self._requests[best])
        record = self._run.record
        names, pixels = record.augmentations.names, decode(image, record.image_size).pixels
        batch = Normalizer(record.mean, record.std).batch([pixels])

        def answer(way: Way, backbone: Backbone) -> SmokeAnswer:
            got = self._answers[way][best]
            return SmokeAnswer(
                way.device,
                dict(zip(names, got.probability.tolist(), strict=True)),
                None if weak[best] else names[got.choice],
                backbone.embed(batch).features[0],
            )

        content = {
            "image": base64.b64encode(image + FOREIGN).decode(),
            "target": request.target,
            "context": request.context,
            "alternates": 0,
        }
        return SmokeRequest(
            content, {way.precision: answer(way, each) for way, each in backbones.items()}
        )

    def confirm(self, archive: Path, way: Way, figures: ParityFigures) -> None:
        """Check that the finished archive, which chooses its own graph, has the same figures.

        It knows the catalogue. So it is also asked about images of the catalogue, with alternates,
        and its probabilities are compared with what training knows of these images.

        Args:
            archive: complete.
            way: the graph that it should choose, on the CPU.
            figures: of that graph.

        Raises:
            ParityError: the figures differ, or the archive takes one image for another.
        """
        self._progress("parity gate: testing the finished archive")
        count = len(self._requests)
        got = self._ask(archive, "cpu", None, self._questions() + self._questions(known=True))
        expected = self._expected[way.precision]
        again = compare(expected, self._read(got[:count]), figures.embedding_cosine)
        drift = max(
            abs(getattr(again, name) - getattr(figures, name))
            for name in ParityFigures.model_fields
        )
        if not drift <= MAX_DRIFT:
            raise ParityError(f"the finished archive differs from the one that passed: {again}")
        trained = self._trained[way.precision]
        apart = [
            trained.catalogue_answer(request).difference(body)
            for request, body in zip(self._requests, got[count:], strict=True)
        ]
        tolerance = tolerance_of(way, self._run.record.graphs[way.precision].device)
        difference, most = float(np.mean(apart)), tolerance.probability_difference
        if not difference <= most:
            raise ParityError(
                "parity gate: the archive does not know the catalogue as the run does",
                expected=f"probabilities of its images and alternates within {most} on average",
                got=f"{difference:.4f}",
                remedy="Nothing was written. Check that the run was not edited.",
            )

    def _ask(
        self,
        archive: Path,
        device: Device,
        precision: Precision | None,
        questions: Sequence[tuple[bytes, dict[str, str]]],
    ) -> list[dict[str, Any]]:
        """Return the bodies of the archive's answers.

        Args:
            archive: a ``.mar``.
            device: for its handler.
            precision: of the graph; None leaves the choice to the archive.
            questions: an image and its fields each.
        """
        requests = []
        with tempfile.TemporaryDirectory(prefix="augrank-parity-") as folder:
            for number, (image, fields) in enumerate(questions):
                file = Path(folder) / str(number)
                file.write_bytes(image)
                requests.append({"image": str(file), "fields": fields})
            answers = ask_archive(archive, requests, device, precision)
        for answer in answers:
            if answer["status"] != 200:
                message = answer["body"]["error"]["message"]
                raise ParityError(f"the archive rejects a held-out image: {message}")
        return [answer["body"] for answer in answers]

    def _read(self, bodies: Sequence[Mapping[str, Any]]) -> list[GateAnswer]:
        names = self._run.record.augmentations.names
        return [GateAnswer.of_json(body, names) for body in bodies]

    def _questions(self, known: bool = False) -> list[tuple[bytes, dict[str, str]]]:
        """Return the gate's requests, as an image and its fields each.

        Args:
            known: whether the archive should know the image, and offer alternates.
        """
        questions = []
        for request in self._requests:
            fields = {name: str(value) for name, value in request.context.items()}
            fields |= {
                "target": request.target,
                "alternates": str(MAX_ALTERNATES if known else 0),
            }
            image = self._image(request)
            questions.append((image if known else image + FOREIGN, fields))
        return questions

    def _image(self, request: ParityRequest) -> bytes:
        path = self._paths[request.image]
        return (self._run.record.images / path).read_bytes()
