"""A history to train on."""

from pathlib import Path

import pytest

from augrank.manifest.read import read_table
from augrank.reporting import NullReporter, Reporter
from simulation.engagement import SimulationOptions
from tests.training.tasks.runs import NAMES
from training.data.simulated_history import write_history


@pytest.fixture(autouse=True)
def _briefly(short_chains: None) -> None:
    """What posteriors say is tested in tests/training/heads, and whole in tests/e2e."""


@pytest.fixture(scope="module")
def quiet() -> Reporter:
    return NullReporter()


@pytest.fixture
def history(catalogue) -> Path:
    manifest = catalogue(30)
    out = manifest.parent / "history.csv"
    write_history(read_table(manifest, {}), manifest.parent, out, NAMES, SimulationOptions(sends=3))
    return out
