"""Small histories of a known rule, for tests of heads."""

from pathlib import Path

import numpy as np

from augrank.models.context import CategoricalColumn
from augrank.models.targets import Target
from training.backbone.embed import EmbeddingTable
from training.heads.dataset import Inputs, OutcomeRows
from training.heads.dmatrix import Matrices
from training.heads.fit import fit_head

TARGET = Target(name="open_rate", direction="maximize")
AUGMENTATIONS, ORIGINALS, WIDTH = 6, 150, 16


def make_inputs(contexts: np.ndarray) -> Inputs:
    """Return embeddings whose logits identify the augmentation and whose features are noise."""
    rng = np.random.default_rng(0)
    label = np.tile(np.arange(AUGMENTATIONS), ORIGINALS)
    logits = (np.eye(AUGMENTATIONS)[label] * 6 + rng.normal(size=(len(label), 6))).astype("f4")
    features = rng.normal(size=(len(label), WIDTH)).astype("f4")
    values = tuple(str(number) for number in range(contexts.shape[1]))
    columns = (CategoricalColumn(name="campaign", values=values),) if values else ()
    table = EmbeddingTable(features, logits, np.arange(len(label)), AUGMENTATIONS)
    return Inputs(table, contexts, columns, unchanged=AUGMENTATIONS * np.arange(ORIGINALS))


def make_parts(probability, contexts: int, seed: int = 1, sends: int = 3):
    """Draw the outcomes of each split with ``probability(augmentation, context)``."""
    rng = np.random.default_rng(seed)
    parts = {}
    for split, (low, high) in {
        "train": (0, 90),
        "validation": (90, 115),
        "test": (115, 150),
    }.items():
        embedding = np.repeat(np.arange(low * AUGMENTATIONS, high * AUGMENTATIONS), sends)
        context = rng.integers(contexts, size=len(embedding))
        truth = probability(embedding % AUGMENTATIONS, context).astype(float)
        label = (rng.random(len(truth)) < truth).astype(float)
        original = embedding // AUGMENTATIONS
        parts[split] = OutcomeRows(
            embedding,
            embedding % AUGMENTATIONS,
            context,
            original,
            label,
            np.ones(len(label)),
            truth,
        )
    return parts


def fit(parts, inputs, threads: int = 1, **options):
    matrices = Matrices(inputs, threads, Path("unused"), **options)
    return fit_head(TARGET, parts, inputs, matrices=matrices, seed=0, threads=threads)


def seed_rule(augmentation, context):
    return np.where(np.isin(augmentation, [1, 3]), 0.8, 0.2)
