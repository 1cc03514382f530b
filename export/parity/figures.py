"""The parity gate: what is served must be what was trained.

The reference is what torch gave during training for the candidates of held-out images
(reference.npz), scored by the run's own XGBoost heads. Against it stands the handler inside the
finished archive, fed the image files, once for each exported graph. Nothing is shared between the
two sides but the files of the run.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xgboost
from numpy.typing import NDArray

from augrank.bundle.load import open_bundle
from augrank.bundle.recommend_spec import ParityFigures, RecommendSpec
from augrank.bundle.spec import Precision
from augrank.errors import AugrankError, DataError
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.context import ContextEncoder
from augrank.models.engines import Device
from augrank.models.head import assemble
from augrank.resources import usable_cores
from augrank.runtime.settings import DEVICE, PRECISION
from export.run_reader import Reference, Run

BATCH = 8  # requests in one call of the handler
TARGETS_PER_IMAGE = 2


class ParityError(AugrankError):
    """What was exported does not answer as what was trained."""

    code = "parity"


@dataclass(frozen=True)
class Way:
    """A graph and what computes it."""

    precision: Precision
    device: Device = "cpu"

    @property
    def label(self) -> str:
        """Such as ``int8`` or ``int8, openvino``."""
        return self.precision if self.device == "cpu" else f"{self.precision}, {self.device}"

    @property
    def tolerance(self) -> "Tolerance":
        """What it must reach; OpenVINO computes an fp32 graph in bfloat16 where the CPU can."""
        if (self.precision, self.device) == ("fp32", "openvino"):
            return BFLOAT16
        return TOLERANCES[self.precision]


@dataclass(frozen=True)
class Tolerance:
    """The least that a graph must reach to be used.

    Trees jump where an input crosses a split, so the largest single difference is bounded loosely
    and the ranking tightly. int8 and bfloat16 (eight bits of mantissa, fp16 has eleven) are
    approximations and are allowed more.
    """

    embedding_cosine: float
    rank_correlation: float
    top1_agreement: float
    max_probability_difference: float


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(0.9999, 0.995, 0.98, 0.10),
    "fp16": Tolerance(0.999, 0.99, 0.97, 0.20),
    "int8": Tolerance(0.99, 0.97, 0.95, 0.35),
}
BFLOAT16 = Tolerance(0.999, 0.985, 0.97, 0.35)


@dataclass(frozen=True)
class Question:
    """A held-out image, a target and a context."""

    image: int  # row of the reference
    target: str
    context: dict[str, Any]


def questions(run: Run, reference: Reference) -> list[Question]:
    """Every held-out image under some targets, all targets in turn, and drawn contexts."""
    rng = np.random.default_rng(run.record.seed)
    targets = [head.target.name for head in run.record.heads]
    encoder = ContextEncoder(run.record.context)
    asked = []
    for image in range(len(reference.paths)):
        for turn in range(min(TARGETS_PER_IMAGE, len(targets))):
            target = targets[(image * TARGETS_PER_IMAGE + turn) % len(targets)]
            asked.append(Question(image, target, encoder.draw(rng)))
    return asked


def expected_probabilities(
    run: Run, reference: Reference, asked: Sequence[Question]
) -> NDArray[np.float64]:
    """The reference's probabilities, float64 (Q, A), by XGBoost's own prediction path."""
    boosters = {}
    for head in run.record.heads:
        boosters[head.target.name] = xgboost.Booster(model_file=run.directory / head.file)
    specs = {head.target.name: head for head in run.record.heads}
    encoder = ContextEncoder(run.record.context)
    rows = []
    for question in asked:
        spec = specs[question.target]
        inputs = assemble(
            spec.inputs,
            logits=reference.logits[question.image],
            features=reference.features[question.image],
            context=encoder.encode(question.context),
            feature_step=spec.feature_step,
        )
        margin = boosters[question.target].predict(xgboost.DMatrix(inputs), output_margin=True)
        rows.append(spec.calibration(margin))
    return np.stack(rows)


def answered_probabilities(
    run: Run,
    reference: Reference,
    asked: Sequence[Question],
    archive: Path,
    device: Device,
    precision: Precision | None,
) -> NDArray[np.float64]:
    """The archive's probabilities, float64 (Q, A), from its own handler in its own process.

    ``precision`` None leaves the choice of graph to the bundle.
    """
    names = run.record.augmentations.names
    requests = [
        {
            "image": str((run.record.images / reference.paths[question.image]).resolve()),
            "fields": {
                **{name: str(value) for name, value in question.context.items()},
                "target": question.target,
                "alternates": "0",
            },
        }
        for question in asked
    ]
    rows = []
    for answer in _ask_archive(archive, requests, device, precision):
        if answer["status"] != 200:
            message = answer["body"]["error"]["message"]
            raise ParityError(f"the archive refuses a held-out image: {message}")
        scores = {c["name"]: c["probability"] for c in answer["body"]["candidates"]}
        rows.append([scores[name] for name in names])
    return np.array(rows)


def lowest_cosine(
    run: Run, reference: Reference, archive: Path, graph: str, device: Device
) -> float:
    """The least cosine similarity between the archive's embeddings and the reference's.

    Features and logits each, of every candidate of every held-out image, by the archive's graph,
    image size, augmentations and normalisation constants.
    """
    with open_bundle(archive, RecommendSpec) as bundle:
        spec = bundle.spec
        backbone = Backbone(bundle.directory / graph, threads=usable_cores(), device=device)
    normalizer = Normalizer(spec.mean, spec.std)
    lowest = 1.0
    for image, path in enumerate(reference.paths):
        pixels = decode((run.record.images / path).read_bytes(), spec.image_size).pixels
        made = [augmentation.apply(pixels) for augmentation in spec.augmentations.augmentations]
        got = backbone.embed(normalizer.batch(made))
        lowest = min(
            lowest,
            _least_cosine(got.features, reference.features[image]),
            _least_cosine(got.logits, reference.logits[image]),
        )
    return lowest


def _least_cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Over rows, (A, W) each."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.min(np.sum(first * second, axis=1) / np.maximum(norms, 1e-12)))


def compare(
    expected: NDArray[np.float64],
    got: NDArray[np.float64],
    directions: Sequence[str],
    cosine: float,
) -> ParityFigures:
    """The figures of the gate.

    Args:
        expected: reference probabilities, float64 (Q, A).
        got: the archive's, likewise.
        directions: of each question's target, Q times maximize or minimize.
        cosine: of ``lowest_cosine``.
    """
    sign = np.array([1.0 if way == "maximize" else -1.0 for way in directions])[:, None]
    rows = np.arange(len(expected))
    chosen = np.argmax(np.round(got, 6) * sign, axis=1)
    # Where the reference holds several for equally good, any of them is the best.
    agrees = (expected * sign)[rows, chosen] >= (expected * sign).max(axis=1) - 1e-4
    return ParityFigures(
        images=len(expected),
        max_probability_difference=round(float(np.abs(expected - got).max()), 6),
        rank_correlation=round(_spearman(expected, got), 6),
        top1_agreement=round(float(agrees.mean()), 6),
        embedding_cosine=round(cosine, 6),
    )


def misses(figures: ParityFigures, tolerance: Tolerance) -> list[str]:
    """What falls short, in words; empty where the gate is passed."""
    short = []
    for name in ("embedding_cosine", "rank_correlation", "top1_agreement"):
        if not getattr(figures, name) >= getattr(tolerance, name):  # NaN falls short
            short.append(f"{name} {getattr(figures, name)} (at least {getattr(tolerance, name)})")
    if not figures.max_probability_difference <= tolerance.max_probability_difference:
        short.append(
            f"max_probability_difference {figures.max_probability_difference} "
            f"(at most {tolerance.max_probability_difference})"
        )
    return short


def _ask_archive(
    archive: Path, requests: list[dict[str, Any]], device: Device, precision: Precision | None
) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="augrank-parity-") as scratch:
        folder, asked, answered = (Path(scratch) / n for n in ("model", "asked", "answered"))
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        batches = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
        asked.write_text(json.dumps(batches), encoding="utf-8")
        probe = Path(__file__).with_name("probe.py")
        done = subprocess.run(
            [sys.executable, "-P", str(probe), str(folder), str(asked), str(answered)],
            env={
                **os.environ,
                "PYTHONPATH": str(folder),
                PRECISION: precision or "",
                DEVICE: device,
            },
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DataError(f"the archive's handler failed: {done.stderr.strip()[-1500:]}")
        return [answer for batch in json.loads(answered.read_text()) for answer in batch]


def _spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation over all entries, ties sharing their mean rank."""
    ranks = [_ranks(array.ravel()) for array in (first, second)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return 1.0 if np.allclose(first, second, atol=1e-4) else 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(np.round(values, 6), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2.0)[inverse]
