"""The parity gate of the task ``recommend``.

The reference is what torch computed during training for the candidates of held-out images
(reference.npz), scored by the run's own heads and posteriors. It is compared with the handler
inside the finished archive, which gets the image files, once for each exported graph. The two sides
share only the files of the run. ``figures.py`` tells what is compared, and why.
"""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import ParityFigures, RecommendSpec
from augrank.bundle.smoke import SmokeRequest
from augrank.bundle.spec import Precision
from augrank.contracts.recommend_run import RecommendRun
from augrank.images.decode import FOREIGN, decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.engines import Device
from augrank.reporting import ShowStatus, Table
from augrank.resources import usable_cores
from augrank.tasks.recommend.request import MAX_ALTERNATES
from export.parity.answers import GateAnswer
from export.parity.archive import ask_archive
from export.parity.figures import EngineConfig, ParityError, compare, min_cosine, shortfalls
from export.parity.reference import (
    ParityRequest,
    catalogue_answers,
    held_out_requests,
    reference_answers,
)
from export.run_reader import Reference, Run, damaged

MAX_DRIFT = 1e-3  # of a figure, between two archives of the same graph


@dataclass(frozen=True)
class GateResult:
    """The figures of every graph and device, and which of them fall short of their tolerance."""

    figures: dict[EngineConfig, ParityFigures]
    rejected: dict[EngineConfig, list[str]]  # and why

    @property
    def passed(self) -> dict[str, tuple[Precision, ...]]:
        """The precisions that pass on each device, likely the quickest first.

        fp16 is for GPUs: CPUs compute it slowly.
        """
        found: dict[str, tuple[Precision, ...]] = {}
        for precision in ("int8", "fp32"):
            for config in self.figures:
                if config.precision == precision and config not in self.rejected:
                    found[config.device] = (*found.get(config.device, ()), config.precision)
        return found


def parity_table(spec: RecommendSpec) -> Table:
    """Return the figures of a finished bundle as a table; default graphs are marked."""
    passed = {
        EngineConfig(precision, device).label
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


def judge(figures: Mapping[EngineConfig, ParityFigures]) -> GateResult:
    """Compare figures with their tolerances.

    Raises:
        ParityError: fp32 falls short.
    """
    missed = {config: shortfalls(each, config.tolerance) for config, each in figures.items()}
    if fails := missed[EngineConfig("fp32")]:
        raise ParityError(
            "parity gate: the archive does not answer as the run does",
            expected="held-out images to score as in training",
            got="; ".join(fails),
            remedy="Nothing was written. Check that the run was not edited, and that the libraries "
            "are those it was trained with.",
        )
    return GateResult(dict(figures), {config: why for config, why in missed.items() if why})


class ParityGate:
    """Compares archives with the reference's answers to the gate's requests."""

    def __init__(self, run: Run[RecommendRun], progress: ShowStatus) -> None:
        self._run, self._progress, self._reference = run, progress, run.reference()
        rows = {row.path: row for row in run.catalogue}
        for path in self._reference.paths:
            with damaged(run.directory / run.record.catalogue):
                row = rows[path]
            run.image_bytes(row)  # raises if the image has changed since training
        self._requests = held_out_requests(run, self._reference)
        self._expected = reference_answers(run, self._reference, self._requests)
        self._answers: dict[EngineConfig, list[GateAnswer]] = {}

    def measure(
        self, archive: Path, graphs: Mapping[Precision, str], config: EngineConfig
    ) -> ParityFigures:
        """Compute the figures of one graph, with answers of the archive's own handler."""
        self._progress(f"parity gate: testing the archive ({config.label})")
        cosine = lowest_cosine(self._run, self._reference, archive, graphs, config)
        got = self._read(self._ask(archive, config.device, config.precision, self._questions()))
        self._answers[config] = got
        return compare(self._expected, got, cosine)

    def smoke_request(self, config: EngineConfig, backbone: Backbone) -> SmokeRequest:
        """Return a request with its probabilities, verdict and features, for testing servers.

        Its verdict is no near-tie, if there is such a request, and its answer differs least between
        training and this graph: far from any split of a tree, it is the same on other processors
        too.

        Args:
            config: a graph that was measured.
            backbone: this graph.
        """
        answers = self._answers[config]
        pairs = list(zip(self._expected, answers, strict=True))
        apart = [np.abs(one.answer.shown - other.shown).max() for one, other in pairs]
        weak = [not (one.firm and one.agrees(other)) for one, other in pairs]
        best = int(np.lexsort((apart, weak))[0])
        request, answer = self._requests[best], answers[best]
        record, image = self._run.record, self._image(request)
        names = record.augmentations.names
        pixels = decode(image, record.image_size).pixels
        embedding = backbone.embed(Normalizer(record.mean, record.std).batch([pixels]))
        content = {
            "image": base64.b64encode(image + FOREIGN).decode(),
            "target": request.target,
            "context": request.context,
            "alternates": 0,
        }
        return SmokeRequest(
            content,
            dict(zip(names, answer.probability.tolist(), strict=True)),
            None if weak[best] else names[answer.choice],
            embedding.features[0],
        )

    def confirm(self, archive: Path, config: EngineConfig, figures: ParityFigures) -> None:
        """Check that the finished archive, which chooses its own graph, has the same figures.

        It knows the catalogue. So it is also asked about images of the catalogue, with alternates,
        and its probabilities are compared with what training knows of these images.

        Args:
            archive: complete.
            config: the graph that it should choose.
            figures: of that graph.

        Raises:
            ParityError: the figures differ, or the archive takes one image for another.
        """
        self._progress("parity gate: testing the finished archive")
        count = len(self._requests)
        got = self._ask(archive, "cpu", None, self._questions() + self._questions(known=True))
        again = compare(self._expected, self._read(got[:count]), figures.embedding_cosine)
        drift = max(
            abs(getattr(again, name) - getattr(figures, name))
            for name in ParityFigures.model_fields
        )
        if not drift <= MAX_DRIFT:
            raise ParityError(f"the finished archive differs from the one that passed: {again}")
        expected = catalogue_answers(self._run, self._reference, self._requests)
        apart = [one.difference(body) for one, body in zip(expected, got[count:], strict=True)]
        difference, most = float(np.mean(apart)), config.tolerance.probability_difference
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
        path = self._reference.paths[request.image]
        return (self._run.record.images / path).read_bytes()


def lowest_cosine(
    run: Run[RecommendRun],
    reference: Reference,
    archive: Path,
    graphs: Mapping[Precision, str],
    config: EngineConfig,
) -> float:
    """Return the lowest cosine similarity between the archive's embeddings and the reference's.

    It covers features and logits of every candidate of every held-out image, computed with the
    archive's graph, image size, augmentations and normalisation constants.
    """
    with open_bundle(archive, RecommendSpec) as bundle:
        spec = bundle.spec
        graph = bundle.directory / graphs[config.precision]
        backbone = Backbone(graph, threads=usable_cores(), device=config.device)
    normalizer = Normalizer(spec.mean, spec.std)
    lowest = 1.0
    for image, path in enumerate(reference.paths):
        pixels = decode((run.record.images / path).read_bytes(), spec.image_size).pixels
        candidates = [each.apply(pixels) for each in spec.augmentations.augmentations]
        got = backbone.embed(normalizer.batch(candidates))
        lowest = min(
            lowest,
            min_cosine(got.features, reference.features[image]),
            min_cosine(got.logits, reference.logits[image]),
        )
    return lowest
