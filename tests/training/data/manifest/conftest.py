"""A catalogue of twelve images for manifests to name."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(catalogue) -> Path:
    return catalogue(12).parent
