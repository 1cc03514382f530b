"""Export a run of the task ``classify``, through the parity gate.

run/ ─ graphs, their heads and rules ─ bundle.json ─ NAME.mar ─┐  (and model.tar.gz)
 └─ references ──────────────────────────────────────────── gate ─ dist/
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augrank.arrays import read_arrays
from augrank.bundle.classify_spec import ClassifyGraphSpec, ClassifySpec, LabelParity
from augrank.bundle.graphs import Way
from augrank.bundle.load import load_bundle
from augrank.contracts.classify_run import ClassifyGraphRecord, ClassifyRun
from augrank.contracts.run import Precision, RunRecord
from augrank.models.backbone import Backbone
from augrank.models.rules import FittedRules, Rules
from augrank.reporting import ShowStatus, no_progress
from augrank.resources import usable_cores
from export.archive import pack_mar, pack_model_tar
from export.bundle_writer import MODEL_TAR, Staging, copy_file, staging, write_bundle_json
from export.fp16_graph import write_fp16
from export.model_card import model_card
from export.parity.classify_gate import ClassifyGate, missed_tolerances, parity_table
from export.parity.ways import GateResult, judge, possible_ways
from export.rules import fit_rules, read_rules
from export.run_reader import Run, damaged
from export.tag_rules import read_tag_rules
from export.tasks.base import Export, ExportOptions, common_fields
from export.trees import check_trees

CARD = "classify_card.md.j2"


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
        DataError: the rules do not fit the run, or the run or its images have changed.
    """
    trained = run.of_task(ClassifyRun)
    heads = trained.record.graphs["fp32"].heads
    rules = None if options.rules is None else read_rules(options.rules, heads)
    with staging(dist, options.name) as staged:
        draft = _write_draft(trained, staged, rules, options, progress)
        gate = ClassifyGate(trained, progress)
        figures = {
            way: gate.measure(staged.archive, way)
            for way in possible_ways(draft.graphs, options.devices)
        }
        graphs = trained.record.graphs
        result = judge(figures, missed_tolerances(figures, graphs), graphs)
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


def _write_draft(
    run: Run[ClassifyRun],
    staged: Staging,
    rules: Rules | None,
    options: ExportOptions,
    progress: ShowStatus,
) -> ClassifySpec:
    """Copy graphs and heads, fit rules, write a first bundle.json, and pack them for the gate."""
    record, bundle, graphs = run.record, staged.bundle, dict[Precision, ClassifyGraphSpec]()
    for precision, trained in record.graphs.items():
        if precision == "int8" and not options.int8:
            continue
        fitted = _fitted(rules, run, trained)
        graphs[precision] = graph = _graph_spec(precision, trained, fitted)
        copy_file(run.directory / trained.file, bundle / graph.file)
        for name in graph.paths[1:]:  # of heads
            copy_file(run.directory / name, bundle / name)
        for head in (*graph.heads, *graph.rankers):
            if head.trees is not None:
                check_trees(run.directory / head.model, run.directory / head.trees)
    if options.fp16:
        progress("converting to fp16")
        exact = graphs["fp32"]
        graphs["fp16"] = _graph_spec("fp16", record.graphs["fp32"], exact.rules)
        write_fp16(bundle / exact.file, bundle / graphs["fp16"].file)
    heads = record.graphs["fp32"].heads
    tags = {} if options.tags is None else read_tag_rules(options.tags, heads)
    draft = ClassifySpec(**common_fields(record, options), graphs=graphs, tags=tags, parity={})
    spec = write_bundle_json(bundle, draft)
    progress("packing the archive")
    pack_mar(bundle, options.name, staged.archive)
    return spec


def _graph_spec(
    precision: Precision, trained: ClassifyGraphRecord, rules: FittedRules | None
) -> ClassifyGraphSpec:
    return ClassifyGraphSpec(
        file=f"backbone-{precision}.onnx",
        metrics=trained.metrics,
        heads=trained.heads,
        rankers=trained.rankers,
        rules=rules,
    )


def _fitted(
    rules: Rules | None, run: Run[ClassifyRun], trained: ClassifyGraphRecord
) -> FittedRules | None:
    """Fit the thresholds of rules to what a graph's heads say of the calibration images."""
    if rules is None:
        return None
    number = [head.label for head in trained.heads].index(rules.label)
    file = run.directory / trained.calibration
    with damaged(file):
        arrays = read_arrays(file)
        probability, label, group = (
            arrays[f"{name}-{number}"] for name in ("probability", "label", "group")
        )
    return fit_rules(rules, trained.heads[number].classes, probability, label, group)


def _finish(
    run: Run[ClassifyRun],
    staged: Staging,
    draft: ClassifySpec,
    gate: ClassifyGate,
    result: GateResult[LabelParity],
    progress: ShowStatus,
) -> ClassifySpec:
    """Add what is known after the gate: smoke request, model card; pack again."""
    graphs: Mapping[Precision, ClassifyGraphSpec] = draft.graphs
    if Way("fp16", "cpu") in result.rejected:  # a GPU would use it by default
        (staged.bundle / graphs["fp16"].file).unlink()
        graphs = {precision: graph for precision, graph in graphs.items() if precision != "fp16"}
    backbones = {
        way: Backbone(
            staged.bundle / graphs[way.precision].file, threads=usable_cores(), device=way.device
        )
        for precision in graphs
        for way in [result.own_way(precision, run.record.graphs)]
    }
    gate.smoke_request(backbones).save(staged.bundle)
    changes: dict[str, Any] = {
        "graphs": graphs,
        "passed": result.passed,
        "parity": {way.label: figures for way, figures in result.figures.items()},
    }
    spec = draft.model_copy(update=changes)
    spec = write_bundle_json(staged.bundle, spec, model_card(spec, run.record, CARD))
    progress("packing the archive with its parity figures")
    pack_mar(staged.bundle, spec.name, staged.archive)
    return spec
