"""Export a run of the task ``recommend``, through the parity gate.

run/ ─ graphs and their heads ─ alternates ─ bundle.json ─ NAME.mar ─┐  (and model.tar.gz)
 └─ references ────────────────────────────────────────────────── gate ─ dist/
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augrank.bundle.graphs import Way
from augrank.bundle.load import load_bundle
from augrank.bundle.recommend_spec import ParityFigures, RecommendGraphSpec, RecommendSpec
from augrank.contracts.recommend_run import RecommendGraphRecord, RecommendRun
from augrank.contracts.run import Precision, RunRecord
from augrank.errors import DataError
from augrank.models.backbone import Backbone
from augrank.reporting import ShowStatus, no_progress
from augrank.resources import usable_cores
from export.archive import pack_mar, pack_model_tar
from export.bundle_writer import (
    MODEL_TAR,
    Staging,
    copy_file,
    copy_heads,
    staging,
    write_bundle_json,
)
from export.fp16_graph import write_fp16
from export.model_card import model_card
from export.parity.gate import ParityGate, missed_tolerances, parity_table
from export.parity.ways import GateResult, judge, possible_ways, trained_as
from export.run_reader import Run
from export.tasks.alternates_index import write_alternates
from export.tasks.base import Export, ExportOptions, common_fields, refuse_rules


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
    refuse_rules(options, "recommend")
    trained = _with_heads(run.of_task(RecommendRun))
    with staging(dist, options.name) as staged:
        draft = _write_draft(trained, staged, options, progress)
        gate = ParityGate(trained, progress)
        result = _pass_gate(gate, trained.record, staged, draft, options)
        spec = _finish(trained, staged, draft, gate, result, progress)
        chosen = Way(spec.precision, "cpu")
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
        result.consequences(spec),
    )


def _with_heads(run: Run[RecommendRun]) -> Run[RecommendRun]:
    """Check that there is something to export.

    Raises:
        DataError: the run has no heads.
    """
    if not run.record.targets:
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
    """Copy graphs and heads, write a first bundle.json, and pack them for the gate."""
    record, bundle, graphs = run.record, staged.bundle, dict[Precision, RecommendGraphSpec]()
    for precision, trained in record.graphs.items():
        if precision == "int8" and not options.int8:
            continue
        graphs[precision] = _graph_spec(precision, trained)
        copy_file(run.directory / trained.file, bundle / graphs[precision].file)
        copy_heads(run.directory, trained.heads, bundle)
    if options.fp16:
        progress("converting to fp16")
        graphs["fp16"] = _graph_spec("fp16", record.graphs["fp32"])
        write_fp16(bundle / graphs["fp32"].file, bundle / graphs["fp16"].file)
    spec = write_bundle_json(bundle, _draft_spec(run, options, graphs))
    progress("packing the archive")
    pack_mar(bundle, options.name, staged.archive)
    return spec


def _graph_spec(precision: Precision, trained: RecommendGraphRecord) -> RecommendGraphSpec:
    return RecommendGraphSpec(
        file=f"backbone-{precision}.onnx", metrics=trained.metrics, heads=trained.heads
    )


def _draft_spec(
    run: Run[RecommendRun],
    options: ExportOptions,
    graphs: Mapping[Precision, RecommendGraphSpec],
) -> RecommendSpec:
    """Return bundle.json before the gate: fp32 is the default, and there are no figures."""
    record = run.record
    return RecommendSpec(
        **common_fields(record, options),
        augmentations=record.augmentations,
        augmentation_hash=record.augmentation_hash,
        context=record.context,
        graphs=graphs,
        alternates=None,
        parity={},
    )


def _pass_gate(
    gate: ParityGate,
    run: RecommendRun,
    staged: Staging,
    draft: RecommendSpec,
    options: ExportOptions,
) -> GateResult[ParityFigures]:
    """Compare every graph with the run, on every device that computes it."""
    ways = possible_ways(draft.graphs, options.devices)
    figures = {way: gate.measure(staged.archive, way) for way in ways}
    return judge(figures, missed_tolerances(figures, run.graphs), run.graphs)


def _finish(
    run: Run[RecommendRun],
    staged: Staging,
    draft: RecommendSpec,
    gate: ParityGate,
    result: GateResult[ParityFigures],
    progress: ShowStatus,
) -> RecommendSpec:
    """Add what is known after the gate: alternates, smoke request, model card; pack again."""
    graphs = dict(draft.graphs)
    if Way("fp16", "cpu") in result.rejected:  # a GPU would use it by default
        (staged.bundle / graphs.pop("fp16").file).unlink()
    backbones = {
        way: Backbone(
            staged.bundle / graphs[way.precision].file, threads=usable_cores(), device=way.device
        )
        for precision in graphs
        for way in [result.own_way(precision, run.record.graphs)]
    }
    gate.smoke_request(backbones).save(staged.bundle)
    progress("embedding the catalogue")
    learned: dict[Precision, Backbone] = {
        way.precision: each for way, each in backbones.items() if way.precision != "fp16"
    }
    alternates, embedded = write_alternates(run, learned, staged.bundle)
    changes: dict[str, Any] = {
        "graphs": {
            precision: graph.model_copy(update={"alternates": embedded[trained_as(precision)]})
            for precision, graph in graphs.items()
        },
        "passed": result.passed,
        "parity": {way.label: figures for way, figures in result.figures.items()},
        "alternates": alternates,
    }
    spec = draft.model_copy(update=changes)
    spec = write_bundle_json(staged.bundle, spec, model_card(spec, run.record))
    progress("packing the archive with its parity figures")
    pack_mar(staged.bundle, spec.name, staged.archive)
    return spec
