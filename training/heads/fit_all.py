"""The heads of a run: one a target, beside its baselines."""

from dataclasses import dataclass
from typing import Any

from training.backbone.embed import EmbeddingTable
from training.common.context import TrainContext
from training.data.dataset import Prepared
from training.data.splits import Split
from training.heads.baselines import compare
from training.heads.dataset import Inputs, OutcomeRows, split_outcomes
from training.heads.dmatrix import Matrices
from training.heads.fit import FittedHead, fit_head


@dataclass(frozen=True)
class TargetResult:
    """A head, its baselines and its test rows."""

    head: FittedHead
    baselines: dict[str, dict[str, Any]]
    test: OutcomeRows


def fit_heads(
    data: Prepared, table: EmbeddingTable, ctx: TrainContext, notes: list[str]
) -> list[TargetResult]:
    """Fit a head for each target that has outcomes in every split, on all cores: of several
    processes one is left.

    Args:
        data: with outcomes.
        table: embeddings of all images that were shown.
        ctx: its device is where XGBoost builds its histograms.
        notes: what the report should say is added here.
    """
    inputs, results = Inputs(table, data.contexts), []
    embedding = table.rows(data.manifest.file, data.manifest.applied)
    pages = data.folder.cache / "heads"
    with Matrices(inputs, data.threads_of_machine, pages, device=ctx.device.kind) as matrices:
        for outcomes in ctx.reporter.track(data.outcomes, "Heads", len(data.outcomes), "targets"):
            name = outcomes.target.name
            parts = split_outcomes(outcomes, data.manifest, data.split, embedding, data.context_row)
            if reason := _unusable(parts):
                notes.append(f"No head for {name}: {reason}.")
                continue
            head = fit_head(
                outcomes.target,
                parts,
                inputs,
                matrices=matrices,
                seed=data.config.seed,
                threads=data.threads_of_machine,
            )
            results.append(TargetResult(head, _baselines(data, head, parts, inputs), parts["test"]))
            if head.spec.metrics.get("leak"):
                notes.append(
                    f"{name} scores {head.spec.metrics['leak_z']:.1f} standard errors above what "
                    "its predictions can deserve: outcomes leak into its inputs."
                )
    if matrices.on_disk:
        notes.append("The heads' rows did not fit in memory: they were read from disk, on the CPU.")
    if matrices.beyond_gpu:
        notes.append("The heads' rows did not fit in the GPU's memory: they learned on the CPU.")
    return results


def _baselines(
    data: Prepared, head: FittedHead, parts: dict[Split, OutcomeRows], inputs: Inputs
) -> dict[str, dict[str, Any]]:
    if not data.config.baselines:
        return {}
    return compare(
        head.spec.inputs, parts["train"], parts["test"], inputs,
        seed=data.config.seed, threads=data.threads_of_machine,
    )  # fmt: skip


def _unusable(parts: dict[Split, OutcomeRows]) -> str:
    for split, rows in parts.items():
        if not len(rows):
            return f"it has no outcomes in the {split} split"
    share = parts["train"].share_of_ones
    if share in (0.0, 1.0):
        return f"every outcome of the training split is {share:.0f}"
    return ""
