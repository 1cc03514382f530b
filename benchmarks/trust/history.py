"""A simulated history, and the head that training fits to it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from augrank.models.context import CategoricalColumn
from augrank.models.targets import Target
from benchmarks.trust.worlds import ROWS_PER_ORIGINAL, VERSIONS, Population, World
from simulation.engagement import CAMPAIGN_TYPES
from training.backbone.embed import EmbeddingTable, pair_keys
from training.data.splits import SPLITS, Split
from training.heads.dataset import Inputs, OutcomeRows, TrainingRows
from training.heads.dmatrix import Matrices
from training.heads.fit import FittedHead, fit_head

TARGET = Target(name="open_rate", direction="maximize")
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15  # the defaults of fit


@dataclass(frozen=True, eq=False)
class History:
    """The outcomes of a world's originals, as training reads them from a manifest."""

    inputs: Inputs
    parts: dict[Split, OutcomeRows]

    @property
    def training(self) -> TrainingRows:
        """The rows that a head's XGBoost is fitted to."""
        return TrainingRows.of(self.parts)

    @property
    def every(self) -> TrainingRows:
        """All rows, which a head's posterior is fitted to."""
        training = self.training
        rows = training.rows.joined(self.parts["test"])
        return TrainingRows(
            rows, np.append(training.held_out, np.zeros(len(self.parts["test"]), bool))
        )


def simulate_history(world: World, population: Population, rng: np.random.Generator) -> History:
    """Send every original ROWS_PER_ORIGINAL times, versions in turn, to campaigns at random.

    Args:
        world: number of originals and of trials.
        population: the originals come first.
        rng: draws campaigns, outcomes and splits.
    """
    originals, versions = world.originals, len(VERSIONS)
    original = np.repeat(np.arange(originals), ROWS_PER_ORIGINAL)
    version = np.tile(np.arange(ROWS_PER_ORIGINAL) % versions, originals)
    version[original < round(world.unchanged_only * originals)] = 0
    campaign = rng.integers(len(CAMPAIGN_TYPES), size=len(original))
    truth = population.probability(original, version, campaign)
    successes = rng.binomial(world.trials, truth).astype(np.float64)

    # s ones among n have the log loss of a 1 with weight s and a 0 with weight n - s.
    row = np.repeat(np.arange(len(original)), 2)
    label = np.tile([1.0, 0.0], len(original))
    weight = np.stack([successes, world.trials - successes], axis=1).ravel()
    embedding = pair_keys(original, version, versions)
    rows = OutcomeRows(
        embedding[row], version[row], campaign[row], original[row], label, weight, truth[row]
    )[weight > 0]
    split = _splits(originals, rng)[rows.original]
    parts = {name: rows[split == number] for number, name in enumerate(SPLITS)}
    return History(_inputs(population, originals), parts)


def fit(history: History, seed: int) -> FittedHead:
    """Fit a head as ``python -m training fit`` does, on one thread."""
    with one_thread_matrices(history.inputs) as matrices:
        return fit_head(
            TARGET, history.parts, history.inputs, matrices=matrices, seed=seed, threads=1
        )


@contextmanager
def one_thread_matrices(inputs: Inputs) -> Iterator[Matrices]:
    """Build XGBoost's matrices on one thread, because every core has a history of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Matrices(inputs, 1, Path(folder) / "pages") as matrices,
    ):
        yield matrices


def _inputs(population: Population, originals: int) -> Inputs:
    table = EmbeddingTable(
        population.features[:originals].reshape(-1, population.features.shape[-1]),
        population.logits[:originals].reshape(-1, len(VERSIONS)),
        np.arange(originals * len(VERSIONS)),
        len(VERSIONS),
    )
    every = np.arange(originals)
    column = CategoricalColumn(name="campaign_type", values=CAMPAIGN_TYPES)
    contexts = np.eye(len(CAMPAIGN_TYPES), dtype=np.float32)
    return Inputs(
        table, contexts, (column,), unchanged=pair_keys(every, np.zeros_like(every), len(VERSIONS))
    )


def _splits(originals: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Assign originals to splits at random, as numbers of SPLITS, int64 (originals,)."""
    test, validation = (round(share * originals) for share in (TEST_SHARE, VALIDATION_SHARE))
    split = np.zeros(originals, np.int64)
    split[:validation] = SPLITS.index("validation")
    split[validation : validation + test] = SPLITS.index("test")
    return rng.permutation(split)
