"""A classifier with rules as an export, and photos of a day."""

from pathlib import Path

import pytest

from tests.support.labelled_images import draw_labelled
from tests.support.review_day import png
from tests.support.sagemaker.classify_jobs import dist_with_archive


@pytest.fixture(scope="session")
def shapes(classify_export, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("airflow") / "dist"
    return dist_with_archive(classify_export.bundle, folder)


@pytest.fixture(scope="session")
def photos() -> dict[str, bytes]:
    """Six photos, one of them broken."""
    images = {f"{number}.png": png(draw_labelled(1000 + number)[0]) for number in range(5)}
    return {**images, "broken.png": b"no image"}
