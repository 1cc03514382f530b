"""Run directory to bundle and archive, through the parity gate.

    run/ ─ graphs ─ heads ─ alternates ─ bundle.json ─ NAME.mar ─┐  (and model.tar.gz)
     └─ reference.npz ───────────────────────────────────────── gate ─ dist/

Everything is made in a folder beside the destination and renamed into place when the gate has been
passed, so a destination never holds half an export.
"""

import base64
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.load import library_versions, load_bundle, sha256_of
from augrank.bundle.recommend_spec import ParityFigures, RecommendSpec
from augrank.bundle.spec import BUNDLE_FILE, MODEL_NAME, SMOKE_FILE, Precision
from augrank.errors import BadRequest, DataError
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.models.engines import Device
from augrank.resources import usable_cores
from export.archive import pack_mar, pack_model_tar
from export.model_card import model_card
from export.onnx_graphs import calibration_images, write_fp16, write_fp32, write_int8
from export.parity.figures import (
    ParityError,
    Way,
    answered_probabilities,
    compare,
    expected_probabilities,
    lowest_cosine,
    misses,
    questions,
)
from export.run_reader import Run
from export.tasks.alternates_index import write_alternates

Step = Callable[[str], None]
MODEL_TAR = "model.tar.gz"  # as SageMaker calls it


@dataclass(frozen=True)
class Export:
    """What an export wrote."""

    bundle: Path
    archive: Path
    model_tar: Path | None  # SageMaker's, where it was asked for
    spec: RecommendSpec
    refused: dict[Way, list[str]]  # that did not pass their gate, and why


def build(
    run: Run,
    dist: Path,
    *,
    name: str,
    version: str = "1.0",
    int8: bool = False,
    fp16: bool = False,
    openvino: bool = False,
    sagemaker: bool = False,
    step: Step = lambda _: None,
) -> Export:
    """Export a run.

    Args:
        run: a finished run.
        dist: where ``bundle/`` and ``NAME.mar`` go; what they replace is kept until the end.
        name: the model's name in URLs.
        version: the user's own version of this export.
        int8: also make an int8 graph, a CPU's default if it passes its gate.
        fp16: also make an fp16 graph, a GPU's default; left out if it does not pass its gate.
        openvino: also compare under OpenVINO, and choose the graph that it is to use.
        sagemaker: also write ``model.tar.gz``, the same files for SageMaker.
        step: told what is being done.

    Raises:
        ParityError: the archive does not answer as the run does; nothing is written.
        DataError: the run or its images are not as they were.
    """
    if not MODEL_NAME.fullmatch(name):
        raise DataError(
            "the model's name does not fit",
            expected="letters, digits, - and _, at most 64",
            got=repr(name),
            remedy="Give one with --name.",
        )
    if openvino and find_spec("openvino") is None:
        raise BadRequest(
            "OpenVINO is not installed", remedy="pip install 'augrank[openvino]', or leave it out."
        )
    dist.mkdir(parents=True, exist_ok=True)
    with _staging(dist) as stage:
        bundle, archive = stage / "bundle", stage / f"{name}.mar"
        bundle.mkdir()
        graphs = _write_graphs(run, bundle, step, int8=int8, fp16=fp16)
        _copy_heads(run, bundle)
        draft = _write_spec(bundle, _spec(run, name, version, graphs))
        step("packing the archive")
        pack_mar(bundle, name, archive)
        gate = _Gate(run, step)
        devices: list[Device] = ["cpu", "openvino"] if openvino else ["cpu"]
        ways = [Way(p, d) for d in devices for p in graphs if (p, d) != ("fp16", "openvino")]
        parity = {way: gate.through_archive(archive, graphs, way) for way in ways}
        refused = _refused(parity)
        chosen = {device: _fastest(parity, refused, device) for device in devices}
        if Way("fp16") in refused:  # a GPU would take it unasked
            (bundle / graphs.pop("fp16")).unlink()
        precision = chosen["cpu"] or "fp32"
        step("embedding the catalogue")
        backbone = Backbone(bundle / graphs[precision], threads=usable_cores(), device="cpu")
        alternates = write_alternates(run, backbone, bundle)
        smoke = json.dumps(gate.smoke_question(Way(precision)))
        (bundle / SMOKE_FILE).write_text(smoke, encoding="utf-8")
        decided = {
            "graphs": graphs,
            "precision": precision,
            "openvino_precision": chosen.get("openvino"),
            "parity": {way.label: figures for way, figures in parity.items()},
            "alternates": alternates,
        }
        spec = draft.model_copy(update=decided)
        spec = _write_spec(bundle, spec, model_card(spec, run.record))
        step("packing the archive with its parity figures")
        pack_mar(bundle, name, archive)
        gate.confirm(archive, parity[Way(precision)])
        load_bundle(bundle)
        for_sagemaker = dist / MODEL_TAR
        if sagemaker:
            step("packing the archive for SageMaker")
            pack_model_tar(bundle, name, stage / MODEL_TAR)
        _replace(bundle, dist / "bundle")
        archive.replace(dist / archive.name)
        if sagemaker:
            (stage / MODEL_TAR).replace(for_sagemaker)
        else:
            for_sagemaker.unlink(missing_ok=True)  # of an earlier export: another model by now
    return Export(
        dist / "bundle", dist / f"{name}.mar", for_sagemaker if sagemaker else None, spec, refused
    )


class _Gate:
    """The reference's answers to the gate's questions, for archives to be held against."""

    def __init__(self, run: Run, step: Step) -> None:
        self._run, self._step, self._reference = run, step, run.reference()
        rows = {row.path: row for row in run.catalogue}
        for path in self._reference.paths:
            run.image_bytes(rows[path])  # refuses images that changed since training
        self._asked = questions(run, self._reference)
        self._expected = expected_probabilities(run, self._reference, self._asked)
        ways = {head.target.name: head.target.direction for head in run.record.heads}
        self._answered: dict[Way, NDArray[np.float64]] = {}
        self._directions = [ways[question.target] for question in self._asked]

    def through_archive(
        self, archive: Path, graphs: Mapping[Precision, str], way: Way
    ) -> ParityFigures:
        """The figures of one graph, its probabilities answered by the archive's own handler."""
        self._step(f"parity gate: asking the archive ({way.label})")
        graph = graphs[way.precision]
        cosine = lowest_cosine(self._run, self._reference, archive, graph, way.device)
        got = answered_probabilities(
            self._run, self._reference, self._asked, archive, way.device, way.precision
        )
        self._answered[way] = got
        return compare(self._expected, got, self._directions, cosine)

    def smoke_question(self, way: Way) -> dict[str, Any]:
        """A request with its answer's probabilities, for a server to be tried with.

        Of those asked, the one whose answer differs least between training and this graph: far from
        any split of a tree, it comes out alike on other processors too.
        """
        answered = self._answered[way]
        best = int(np.argmin(np.abs(answered - self._expected).max(axis=1)))
        question = self._asked[best]
        path = self._run.record.images / self._reference.paths[question.image]
        names = self._run.record.augmentations.names
        return {
            "request": {
                "image": base64.b64encode(path.read_bytes()).decode(),
                "target": question.target,
                "context": question.context,
                "alternates": 0,
            },
            "probabilities": dict(zip(names, answered[best].tolist(), strict=True)),
        }

    def confirm(self, archive: Path, figures: ParityFigures) -> None:
        """The finished archive, left to its own choice of graph, must give the same figures."""
        self._step("parity gate: asking the finished archive")
        got = answered_probabilities(self._run, self._reference, self._asked, archive, "cpu", None)
        again = compare(self._expected, got, self._directions, figures.embedding_cosine)
        drift = max(
            abs(getattr(again, name) - getattr(figures, name))
            for name in ParityFigures.model_fields
        )
        if not drift <= 1e-3:
            raise ParityError(f"the finished archive differs from the one that passed: {again}")


def _write_graphs(
    run: Run, bundle: Path, step: Step, *, int8: bool, fp16: bool
) -> dict[Precision, str]:
    graphs: dict[Precision, str] = {"fp32": "backbone-fp32.onnx"}
    step("exporting the backbone to ONNX")
    write_fp32(run, bundle / graphs["fp32"])
    if fp16:
        step("converting to fp16")
        graphs["fp16"] = "backbone-fp16.onnx"
        write_fp16(bundle / graphs["fp32"], bundle / graphs["fp16"])
    if int8:
        step("quantizing to int8, calibrated on training images")
        graphs["int8"] = "backbone-int8.onnx"
        write_int8(bundle / graphs["fp32"], bundle / graphs["int8"], _calibration(run))
    return graphs


def _calibration(run: Run) -> Iterator[NDArray[np.float32]]:
    """Normalised candidates of training originals, one original (A, 3, S, S) at a time."""
    rows = run.rows("train")
    chosen = rows[:: max(1, len(rows) // calibration_images(run.record, len(rows)))]
    normalizer = Normalizer(run.record.mean, run.record.std)
    for row in chosen:
        pixels = decode(run.image_bytes(row), run.record.image_size).pixels
        made = [
            augmentation.apply(pixels) for augmentation in run.record.augmentations.augmentations
        ]
        yield normalizer.batch(made)


def _copy_heads(run: Run, bundle: Path) -> None:
    for head in run.record.heads:
        target = bundle / head.file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.directory / head.file, target)


def _refused(parity: Mapping[Way, ParityFigures]) -> dict[Way, list[str]]:
    """What falls short of its gate, and why.

    Raises:
        ParityError: fp32 itself does.
    """
    short = {way: misses(figures, way.tolerance) for way, figures in parity.items()}
    if fails := short[Way("fp32")]:
        raise ParityError(
            "parity gate: the archive does not answer as the run does",
            expected="held-out images to score as in training",
            got="; ".join(fails),
            remedy="Nothing was written. Check that the run was not edited, and that the libraries "
            "are those it was trained with.",
        )
    return {way: why for way, why in short.items() if why}


def _fastest(
    parity: Mapping[Way, ParityFigures], refused: Mapping[Way, list[str]], device: Device
) -> Precision | None:
    """A device's default: int8 where it passes, else fp32, else none."""
    ways = (Way("int8", device), Way("fp32", device))
    return next((w.precision for w in ways if w in parity and w not in refused), None)


def _spec(run: Run, name: str, version: str, graphs: dict[Precision, str]) -> RecommendSpec:
    record = run.record
    return RecommendSpec(
        name=name,
        version=version,
        backbone=record.backbone,
        image_size=record.image_size,
        mean=record.mean,
        std=record.std,
        feature_width=record.feature_width,
        augmentations=record.augmentations,
        augmentation_hash=record.augmentation_hash,
        context=record.context,
        heads=record.heads,
        graphs=graphs,
        precision="fp32",
        alternates=None,
        metrics={"backbone": record.backbone_metrics, "run": record.fingerprint},
        parity={},
        library_versions=library_versions(),
        files={},
    )


def _write_spec(bundle: Path, spec: RecommendSpec, card: str = "") -> RecommendSpec:
    """Write the model card and bundle.json, which names the sha256 of every other file."""
    (bundle / "model_card.md").write_text(card, encoding="utf-8")
    files = {
        file.relative_to(bundle).as_posix(): sha256_of(file)
        for file in sorted(bundle.rglob("*"))
        if file.is_file() and file.name != BUNDLE_FILE
    }
    spec = spec.model_copy(update={"files": files})
    text = spec.model_dump_json(indent=2) + "\n"
    (bundle / BUNDLE_FILE).write_text(text, encoding="utf-8")
    return spec


@contextmanager
def _staging(dist: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".export-", dir=dist) as folder:
        yield Path(folder)


def _replace(new: Path, old: Path) -> None:
    """Rename a directory into place; the one it replaces goes last."""
    aside = new.with_name("replaced")
    if old.exists():
        old.rename(aside)
    new.rename(old)
