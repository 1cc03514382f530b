"""Export a run of the task ``recommend``, through the parity gate.

run/ ─ graphs ─ heads ─ alternates ─ bundle.json ─ NAME.mar ─┐  (and model.tar.gz)
 └─ reference.npz ───────────────────────────────────────── gate ─ dist/
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.bundle.load import library_versions, load_bundle
from augrank.bundle.recommend_spec import RecommendSpec
from augrank.bundle.spec import Precision
from augrank.contracts.recommend_run import RecommendRun
from augrank.contracts.run import RunRecord
from augrank.errors import DataError
from augrank.images.decode import decode
from augrank.images.preprocess import Normalizer
from augrank.models.backbone import Backbone
from augrank.reporting import ShowStatus, no_progress
from augrank.resources import usable_cores
from export.archive import pack_mar, pack_model_tar
from export.bundle_writer import MODEL_TAR, Staging, copy_heads, staging, write_bundle_json
from export.model_card import model_card
from export.onnx_graphs import load_network, write_fp16, write_fp32, write_int8
from export.parity.figures import EngineConfig
from export.parity.gate import GateResult, ParityGate, judge, parity_table
from export.run_reader import Run
from export.tasks.alternates_index import write_alternates
from export.tasks.base import Export, ExportOptions

CALIBRATION_CANDIDATES = 200  # of training images, for int8
MIN_CALIBRATION_IMAGES = 8


def build(
    run: Run[RunRecord],
    dist: Path,
    options: ExportOptions,
    progress: ShowStatus = no_progress,
) -> Export:
    """Export a run.

    Args:
        run: a finished run of this task.
        dist: folder for ``bundle/`` and ``NAME.mar``; an earlier export is kept until the end.
        options: options of the export.
        progress: receives progress messages.

    Raises:
        ParityError: the archive does not answer as the run does; nothing is written.
        DataError: the run has no heads, or the run or its images have changed.
    """
    trained = _with_heads(run.of_task(RecommendRun))
    with staging(dist, options.name) as staged:
        draft = _write_draft(trained, staged, options, progress)
        gate = ParityGate(trained, progress)
        result = _pass_gate(gate, staged, draft, options)
        spec = _finish(trained, staged, draft, gate, result, progress)
        chosen = EngineConfig(spec.precision)
        gate.confirm(staged.archive, chosen, result.figures[chosen])
        load_bundle(staged.bundle)
        if options.sagemaker:
            progress("packing the archive for SageMaker")
            pack_model_tar(staged.bundle, options.name, staged.model_tar)
        staged.publish(dist)
    return Export(
        dist / "bundle",
        dist / staged.archive.name,
        dist / MODEL_TAR if options.sagemaker else None,
        spec,
        parity_table(spec),
        {
            config.label: f"{'; '.join(why)}. {_consequence(config, spec)}"
            for config, why in result.rejected.items()
        },
    )


def _consequence(config: EngineConfig, spec: RecommendSpec) -> str:
    """Describe the consequence for a graph that did not pass its gate."""
    precision = config.precision
    if config.device != "cpu":
        return f"{config.device} uses it only if AUGRANK_PRECISION={precision} is set."
    if precision in spec.graphs:
        return f"It is in the bundle, used only if AUGRANK_PRECISION={precision} is set."
    return "It was left out."


def _with_heads(run: Run[RecommendRun]) -> Run[RecommendRun]:
    """Check that there is something to export.

    Raises:
        DataError: the run has no heads.
    """
    if not run.record.heads:
        raise DataError(
            f"{run.directory} has no heads",
            expected="at least one target",
            got="a backbone alone",
            remedy="Train on a manifest with outcomes, or simulate some with python -m training "
            "simulate.",
        )
    return run


def _write_draft(
    run: Run[RecommendRun], staged: Staging, options: ExportOptions, progress: ShowStatus
) -> RecommendSpec:
    """Write graphs, heads and a first bundle.json, and pack them for the gate."""
    graphs = _write_graphs(run, staged.bundle, options, progress)
    copy_heads(run.directory, run.record.heads, staged.bundle)
    spec = write_bundle_json(staged.bundle, _draft_spec(run, options, graphs))
    progress("packing the archive")
    pack_mar(staged.bundle, options.name, staged.archive)
    return spec


def _write_graphs(
    run: Run[RecommendRun], bundle: Path, options: ExportOptions, progress: ShowStatus
) -> dict[Precision, str]:
    record = run.record
    graphs: dict[Precision, str] = {"fp32": "backbone-fp32.onnx"}
    progress("exporting the backbone to ONNX")
    network = load_network(record.backbone, run.weights, len(record.augmentations.names))
    write_fp32(network, record.image_size, bundle / graphs["fp32"])
    if options.fp16:
        progress("converting to fp16")
        graphs["fp16"] = "backbone-fp16.onnx"
        write_fp16(bundle / graphs["fp32"], bundle / graphs["fp16"])
    if options.int8:
        progress("quantizing to int8, calibrated on training images")
        graphs["int8"] = "backbone-int8.onnx"
        batches = _calibration_batches(run)
        write_int8(bundle / graphs["fp32"], bundle / graphs["int8"], batches)
    return graphs


def _calibration_batches(run: Run[RecommendRun]) -> Iterator[NDArray[np.float32]]:
    """Yield the normalised candidates of training originals, float32 (A, 3, S, S) each."""
    record, rows = run.record, run.rows("train")
    images = max(MIN_CALIBRATION_IMAGES, CALIBRATION_CANDIDATES // len(record.augmentations.names))
    normalizer = Normalizer(record.mean, record.std)
    for row in rows[:: max(1, len(rows) // images)]:
        pixels = decode(run.image_bytes(row), record.image_size).pixels
        candidates = [each.apply(pixels) for each in record.augmentations.augmentations]
        yield normalizer.batch(candidates)


def _draft_spec(
    run: Run[RecommendRun], options: ExportOptions, graphs: Mapping[Precision, str]
) -> RecommendSpec:
    """Return bundle.json before the gate: fp32 is the default, and there are no figures."""
    record = run.record
    return RecommendSpec(
        name=options.name,
        version=options.version,
        backbone=record.backbone,
        image_size=record.image_size,
        mean=record.mean,
        std=record.std,
        feature_width=record.feature_width,
        augmentations=record.augmentations,
        augmentation_hash=record.augmentation_hash,
        context=record.context,
        heads=record.heads,
        graphs=dict(graphs),
        passed={"cpu": ("fp32",)},
        alternates=None,
        metrics={"backbone": record.backbone_metrics, "run": record.fingerprint},
        parity={},
        library_versions=library_versions(),
        files={},
    )


def _pass_gate(
    gate: ParityGate, staged: Staging, draft: RecommendSpec, options: ExportOptions
) -> GateResult:
    """Compare every graph with the run, on every device that computes it."""
    configs = [
        EngineConfig(precision, device)
        for device in options.devices
        for precision in draft.graphs
        if (precision, device) != ("fp16", "openvino")
    ]
    figures = {c: gate.measure(staged.archive, draft.graphs, c) for c in configs}
    return judge(figures)


def _finish(
    run: Run[RecommendRun],
    staged: Staging,
    draft: RecommendSpec,
    gate: ParityGate,
    result: GateResult,
    progress: ShowStatus,
) -> RecommendSpec:
    """Choose the default graphs, add alternates, smoke request and model card, and pack again."""
    graphs = dict(draft.graphs)
    if EngineConfig("fp16") in result.rejected:  # a GPU would use it by default
        (staged.bundle / graphs.pop("fp16")).unlink()
    precision = result.passed["cpu"][0]
    progress("embedding the catalogue")
    graph = staged.bundle / graphs[precision]
    backbone = Backbone(graph, threads=usable_cores(), device="cpu")
    gate.smoke_request(EngineConfig(precision), backbone).save(staged.bundle)
    changes: dict[str, Any] = {
        "graphs": graphs,
        "passed": result.passed,
        "parity": {config.label: figures for config, figures in result.figures.items()},
        "alternates": write_alternates(run, backbone, staged.bundle),
    }
    spec = draft.model_copy(update=changes)
    spec = write_bundle_json(staged.bundle, spec, model_card(spec, run.record))
    progress("packing the archive with its parity figures")
    pack_mar(staged.bundle, spec.name, staged.archive)
    return spec
