"""An export with its archive for SageMaker."""

from pathlib import Path

import pytest

from export.build import Export, build
from export.run import load_run


@pytest.fixture(scope="session")
def made(tiny_run, tmp_path_factory) -> Export:
    folder = tmp_path_factory.mktemp("for-sagemaker")
    return build(load_run(tiny_run.run), folder, name="tiny", sagemaker=True)


@pytest.fixture(scope="session")
def dist(made) -> Path:
    return made.bundle.parent
