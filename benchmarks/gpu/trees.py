"""The row ``xgboost``: a head's trees on the GPU against the CPU, on the same rows."""

import time
from typing import Any

import numpy as np
import xgboost

from benchmarks.gpu.config import Figures, GpuBenchConfig, NotPossibleHere, RowContext
from training.backbone.embed import EmbeddingTable
from training.common.metrics import log_loss
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.scores import BoosterOptions

AUGMENTATIONS = 6
TRAIN_SHARE = 0.8  # of the originals; the rest validates
LIKED, RATES = (1, 3), (0.2, 0.8)  # as in the first experiments: two augmentations do better


def measure_trees(context: RowContext) -> Figures:
    """Build the matrix and the trees on both devices, as ``fit`` does for a head.

    Raises:
        NotPossibleHere: the installed XGBoost was built without CUDA.
    """
    config = context.config
    if config.device == "cuda" and not xgboost.build_info().get("USE_CUDA"):
        raise NotPossibleHere("the installed XGBoost is built without CUDA, such as xgboost-cpu")
    inputs, training = _history(config)
    options = BoosterOptions(
        ("augmentation", "augmentation_probs", "features"),
        {  # as of a head's
            "objective": "binary:logistic",
            "tree_method": "hist",
            "max_depth": 4,
            "eta": 0.1,
            "min_child_weight": 4,
            "subsample": 0.8,
            "colsample_bytree": 0.4,
            "seed": 0,
            "nthread": config.threads,
            "verbosity": 0,
        },
        config.head_trees,
    )
    here, margins = _train(options, inputs, training, context, config.device)
    cpu, cpu_margins = _train(options, inputs, training, context, "cpu")
    ratio = cpu["trees_s"] / here["trees_s"]
    difference = float(np.abs(_probability(margins) - _probability(cpu_margins)).max())
    return {
        "rows": len(training.rows),
        "columns": inputs.width(options.names),
        "trees": config.head_trees,
        "device": here,
        "cpu": cpu,
        "cpu_over_device": round(ratio, 3),
        "probability_difference": round(difference, 5),
        "summary": f"{len(training.rows):,} rows x {inputs.width(options.names)} columns, "
        f"{config.head_trees} trees: {here['trees_s']:.2f} s, CPU {cpu['trees_s']:.2f} s; log loss "
        f"{here['log_loss']:.4f}, CPU {cpu['log_loss']:.4f}",
    }


def _history(config: GpuBenchConfig) -> tuple[Inputs, TrainingRows]:
    """Return random embeddings, and an outcome for each image and augmentation."""
    rng = np.random.default_rng(0)
    count = AUGMENTATIONS * config.head_originals
    augmentation = np.tile(np.arange(AUGMENTATIONS), config.head_originals)
    original = np.repeat(np.arange(config.head_originals), AUGMENTATIONS)
    logits = 6 * np.eye(AUGMENTATIONS, dtype=np.float32)[augmentation]
    logits += rng.standard_normal(logits.shape, np.float32)
    features = rng.standard_normal((count, config.head_features), np.float32)
    table = EmbeddingTable(features, logits, np.arange(count), AUGMENTATIONS)
    truth = np.where(np.isin(augmentation, LIKED), RATES[1], RATES[0])
    label = (rng.random(count) < truth).astype(np.float64)
    rows = OutcomeRows(
        embedding=np.arange(count),
        augmentation=augmentation,
        context=np.zeros(count, np.int64),
        original=original,
        label=label,
        weight=np.ones(count),
        truth=truth,
    )
    held_out = original >= TRAIN_SHARE * config.head_originals
    return Inputs(table, np.zeros((1, 0), np.float32)), TrainingRows(rows, held_out)


def _train(
    options: BoosterOptions,
    inputs: Inputs,
    training: TrainingRows,
    context: RowContext,
    device: str,
) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """Train on the rows that are not held out; return figures, and margins of those that are."""
    start = time.perf_counter()
    pages = context.scratch / "heads"
    weight = np.where(training.held_out, 0.0, training.rows.weight)
    with Matrices(inputs, context.config.threads, pages, device=device) as matrices:
        used = matrices.get(options.names, training).device
        matrix_s = time.perf_counter() - start
        if device == "cuda":  # the first trees also start CUDA
            BoosterOptions(options.names, options.parameters, 1).train(training, matrices, weight)
        start = time.perf_counter()
        booster = options.train(training, matrices, weight)
        trees_s = time.perf_counter() - start
    held_out = training.rows[training.held_out]
    margins = options.margins(booster, held_out, inputs)
    loss = log_loss(held_out.label, _probability(margins), held_out.weight)
    figures = {
        "device": used,
        "matrix_s": round(matrix_s, 3),
        "trees_s": round(trees_s, 3),
        "log_loss": round(float(loss), 5),
    }
    return figures, margins


def _probability(margins: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    probability: np.ndarray[Any, Any] = 1 / (1 + np.exp(-margins.astype(np.float64)))
    return probability
