"""Servers under test may take long to start."""

from functools import partial

import pytest

from augrank.serving.torchserve import TorchServeOptions
from benchmarks.serving import systems
from tests.support.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    monkeypatch.setattr(systems, "READY_TIMEOUT_S", PATIENCE_S)
    options = partial(TorchServeOptions, ready_timeout_s=PATIENCE_S)
    monkeypatch.setattr(systems, "TorchServeOptions", options)
