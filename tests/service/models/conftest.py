"""A registry with models to promote."""

import pytest

from service.database.session import Database
from service.database.tables import Model
from service.models.registry import Registry
from tests.service.support.bundles import another


@pytest.fixture
def models(database: Database, classify_export, tmp_path) -> tuple[Registry, list[Model]]:
    """A registry whose first model is live, with two candidates."""
    registry = Registry(database, tmp_path / "folder")
    found = [registry.start_with(classify_export.bundle)]
    for version in ("2.0", "3.0"):
        found.append(registry.add(another(classify_export.bundle, tmp_path, version)))
    return registry, found
