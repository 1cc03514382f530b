"""Fit the heads of a run: one for each target, with its baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from augrank.contracts.manifest import AUGMENTATION
from augrank.contracts.run import Precision
from augrank.resources import trim_memory
from training.backbone.embed import EmbeddingTable
from training.common.context import TrainContext
from training.data.recommend_dataset import RecommendDataset
from training.data.splits import Split
from training.heads.baselines import fit_baselines
from training.heads.dataset import Inputs, OutcomeRows, split_outcomes
from training.heads.dmatrix import Matrices
from training.heads.fit import FittedHead, fit_head


@dataclass(frozen=True)
class TargetResult:
    """A head, the scores of its baselines and its test rows."""

    head: FittedHead
    baselines: dict[str, dict[str, Any]]
    test: OutcomeRows


def fit_heads(
    data: RecommendDataset,
    table: EmbeddingTable,
    ctx: TrainContext,
    notes: list[str],
    *,
    graph: Precision = "fp32",
    like: Sequence[TargetResult] = (),
) -> list[TargetResult]:
    """Fit a head for each target that has outcomes in every split.

    Uses all cores: in distributed training only the main process calls this.

    Args:
        data: the dataset.
        table: embeddings of all shown images.
        ctx: its device is where XGBoost builds its histograms.
        notes: notes for the report are appended.
        graph: that computed the embeddings.
        like: the results of another graph, with the same inputs. Heads that do not see the image
            are taken over.
    """
    results: list[TargetResult] = []
    before = {result.head.spec.target.name: result for result in like}
    inputs = Inputs(
        table,
        data.contexts,
        data.context,
        AUGMENTATION in data.manifest.frame.columns,
        _unchanged(data, table),
        graph,
        {name: result.head.spec.inputs for name, result in before.items()},
    )
    embedding = table.rows(data.manifest.file, data.manifest.applied)
    pages = data.folder.cache / "heads"
    with Matrices(inputs, data.threads_of_machine, pages, device=ctx.device.kind) as matrices:
        matrices.shared = len(data.outcomes) > 1
        title = "Heads" if not like else f"Heads of {graph}"
        for outcomes in ctx.reporter.track(data.outcomes, title, len(data.outcomes), "targets"):
            name = outcomes.target.name
            if name in before and before[name].head.spec.ignores_image:
                results.append(before[name])
                continue
            parts = split_outcomes(outcomes, data.manifest, data.split, embedding, data.context_row)
            trim_memory()  # merging long histories leaves much of it free
            if reason := _unusable(parts):
                notes.append(f"No head for {name}: {reason}.")
                continue
            head = fit_head(
                outcomes.target,
                parts,
                inputs,
                matrices=matrices,
                seed=data.config.seed,
                threads=ctx.threads.of(data.threads_of_machine),
            )
            baselines = before[name].baselines if like else _baselines(data, head, parts, inputs)
            results.append(TargetResult(head, baselines, parts["test"]))
            if head.spec.metrics.get("leak"):
                notes.append(
                    f"{name} scores {head.spec.metrics['leak_z']:.1f} standard errors above the "
                    "expected accuracy of its predictions: outcomes leak into its inputs."
                )
    for column in dict.fromkeys(name for result in results for name in result.head.left_out):
        notes.append(
            f"{column} has too many categories: heads learn its effects from XGBoost alone, "
            "and intervals do not contain what is unsure about them."
        )
    if matrices.on_disk:
        notes.append("The rows of the heads did not fit in memory: trained from disk, on the CPU.")
    if matrices.exceeded_gpu:
        notes.append("The rows of the heads did not fit in the GPU's memory: trained on the CPU.")
    return results


def _unchanged(data: RecommendDataset, table: EmbeddingTable) -> NDArray[np.int64]:
    """Return the row of the table of each original's unchanged image, or -1, (originals,)."""
    rows, known = np.full(len(data.original_file), -1), data.original_file >= 0
    files = data.original_file[known]
    rows[known] = table.rows(files, np.zeros_like(files))
    return rows


def _baselines(
    data: RecommendDataset, head: FittedHead, parts: dict[Split, OutcomeRows], inputs: Inputs
) -> dict[str, dict[str, Any]]:
    """Return the baselines' scores; empty if they are switched off."""
    if not data.config.baselines:
        return {}
    return fit_baselines(
        head.spec.inputs,
        parts["train"],
        parts["test"],
        inputs,
        seed=data.config.seed,
        threads=data.threads_of_machine,
    )


def _unusable(parts: dict[Split, OutcomeRows]) -> str:
    """Return why no head can be fitted, or an empty string."""
    for split, rows in parts.items():
        if not rows.weight.any():
            return f"it has no outcomes in the {split} split"
    share = parts["train"].share_of_ones
    if share in (0.0, 1.0):
        return f"every outcome of the training split is {share:.0f}"
    return ""
