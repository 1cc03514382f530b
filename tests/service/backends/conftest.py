"""The classifier's model as a server has it."""

import pytest

from handlers.classify_handler import ClassifyHandler
from tests.service.support.model_server import loaded


@pytest.fixture(scope="module")
def labels(classify_export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    with loaded(ClassifyHandler, classify_export.bundle, folder) as model:
        yield model
