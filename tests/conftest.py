"""Session fixtures that are expensive to make: a finished run and its export."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from tqdm import tqdm

from augrank.serving import server, torchserve
from augrank.tasks.classify.pipeline import Classifier
from augrank.tasks.recommend.pipeline import Recommender
from export.run_reader import load_run
from export.tasks.base import Export, ExportOptions
from export.tasks.classify import build as export_classifier
from export.tasks.recommend import build
from tests.support.export_options import plain_options
from tests.support.labelled_images import RANKED, RULES, fit_classifier, write_labelled
from tests.support.once import made_once
from tests.support.patience import PATIENCE_S
from tests.support.pools import own_threads
from tests.support.tiny_run import make_run

pytest_plugins = ["tests.support.leaks"]
tqdm.monitor_interval = 0  # no thread that watches over progress bars
# The same examples every time, however slow the machine.
settings.register_profile(
    "suite",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")
torchserve.READY_TIMEOUT_S = server.READY_TIMEOUT_S = PATIENCE_S


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed PyTorch's generator before every test; pytest-randomly seeds the others."""
    torch.manual_seed(0)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run modules with slow tests first, so that two workers finish at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@dataclass(frozen=True)
class TinyRun:
    run: Path
    images: Path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    def make(folder: Path) -> TinyRun:
        return TinyRun(make_run(folder / "run", folder / "images"), folder / "images")

    return made_once(tmp_path_factory, "tiny_run", make)


@pytest.fixture(scope="session")
def tiny_export(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The export of the tiny run, with its archive for SageMaker."""

    def make(folder: Path) -> Export:
        return build(load_run(tiny_run.run), folder, plain_options("tiny", sagemaker=True))

    return made_once(tmp_path_factory, "tiny_export", make)


@pytest.fixture(scope="session")
def dist(tiny_export: Export) -> Path:
    return tiny_export.bundle.parent


@pytest.fixture(scope="session")
def recommender(tiny_export: Export) -> Iterator[Recommender]:
    loaded = Recommender.load(tiny_export.bundle, threads=2)
    with own_threads(loaded.stages):
        yield loaded


@pytest.fixture(scope="session")
def classify_run(tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """A run of the task ``classify`` on coloured shapes and their likes, with an int8 graph."""

    def make(folder: Path) -> TinyRun:
        manifest = write_labelled(folder / "data", 240)
        fit_classifier(manifest, folder / "run", **RANKED)
        return TinyRun(folder / "run", folder / "data")

    return made_once(tmp_path_factory, "classify_run", make)


@pytest.fixture(scope="session")
def classify_export(classify_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The export of the classifier with rules, on onnxruntime alone."""

    def make(folder: Path) -> Export:
        rules = folder / "rules.yaml"
        rules.write_text(RULES, encoding="utf-8")
        options = ExportOptions("shapes", devices=("cpu",), rules=rules)
        return export_classifier(load_run(classify_run.run), folder / "dist", options)

    return made_once(tmp_path_factory, "classify_export", make)


@pytest.fixture(scope="session")
def classifier(classify_export: Export) -> Iterator[Classifier]:
    loaded = Classifier.load(classify_export.bundle, threads=2, device="cpu", precision="fp32")
    with own_threads(loaded.embedder):
        yield loaded


@pytest.fixture(scope="session")
def image(tiny_run: TinyRun) -> bytes:
    """A test image of the catalogue: PNG, 96 x 96."""
    return (tiny_run.images / "image_004.png").read_bytes()
