"""Tiny catalogues of coloured shapes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pandas as pd
import pytest
import torch

from augrank.reporting import NullReporter, Reporter
from tests.support.shapes import SHAPES, draw
from training.heads.posterior import gibbs, mixed_effects


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Limit torch and OpenCV to one thread; restore it after a test that sets more."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture
def short_chains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample posteriors briefly, in tests of something else than what they say."""
    monkeypatch.setattr(gibbs, "ROUNDS", 2)
    monkeypatch.setattr(mixed_effects, "DRAWS", 40)


@pytest.fixture
def reporter() -> Reporter:
    return NullReporter()


@pytest.fixture
def catalogue(tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that writes a catalogue of N images and returns its manifest."""

    def write(count: int) -> Path:
        folder = tmp_path / "catalogue"
        (folder / "images").mkdir(parents=True)
        rows = []
        for number in range(count):
            name = f"images/{number:03d}.png"
            cv2.imwrite(str(folder / name), draw(number)[..., ::-1])
            rows.append({"relative_im_path": name, "product_type": SHAPES[number % 3],
                         "year": 2000 + number})  # fmt: skip
        manifest = folder / "manifest.csv"
        pd.DataFrame(rows).to_csv(manifest, index=False)
        return manifest

    return write
