"""From a config to data: the messages, and the images of each split."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from augrank.errors import DataError
from augrank.reporting import NullReporter
from training.common.context import TrainContext
from training.config import FitConfig
from training.data.recommend_dataset import RecommendDataset, load_dataset, read_manifest
from training.data.splits import TEST, TRAIN, VALIDATION


class Said(NullReporter):
    """A reporter that keeps its messages."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, text, *, style="plain"):
        self.messages.append(text)


def load(manifest: Path, out: Path, **options) -> tuple[RecommendDataset, list[str]]:
    said = Said()
    config = FitConfig(manifest=manifest, out=out, image_size=32, threads=1, **options)
    return load_dataset(config, read_manifest(config), TrainContext(said)), said.messages


def test_changes_to_the_manifest_are_reported_once(catalogue, tmp_path):
    manifest = catalogue(9)
    values = ["Product Announcement", "product-announcement", "Survey"] * 3
    frame = pd.read_csv(manifest).assign(**{"Campaign types": values, "Unsubscribed": 1})
    frame.to_csv(manifest, index=False)
    data, said = load(manifest, tmp_path / "run")
    assert said == [
        "Manifest: column 'Campaign types' is read as campaign_type",
        "Manifest: column 'Unsubscribed' is read as unsubscribed",
        "Manifest: campaign_type: read 'product-announcement' as 'Product Announcement'",
    ]
    assert data.context[0].values == ("Product Announcement", "Survey")
    (target,) = data.outcomes
    assert (target.target.name, target.target.direction) == ("unsubscribed", "minimize")


def test_other_spellings_are_the_same_data(catalogue, tmp_path):
    manifest = catalogue(9)
    frame = pd.read_csv(manifest)
    frame.assign(industry=["Real Estate"] * 8 + ["real_estate"]).to_csv(manifest, index=False)
    one, _ = load(manifest, tmp_path / "a")
    frame.assign(industry="Real Estate").to_csv(manifest, index=False)
    other, _ = load(manifest, tmp_path / "b")
    assert one.fingerprint == other.fingerprint


def test_a_split_has_all_candidates_of_its_originals(catalogue, tmp_path):
    data, said = load(catalogue(12), tmp_path / "run")
    assert said == []
    samples = [data.samples(split) for split in (TRAIN, VALIDATION, TEST)]
    assert sum(map(len, samples)) == 12 * len(data.augmentations.names)
    files = [set(part.file.tolist()) for part in samples]
    assert not files[0] & files[1] | files[1] & files[2] | files[0] & files[2]
    np.testing.assert_array_equal(samples[0].applied, samples[0].label)


def test_without_a_file_of_an_original_there_are_no_candidates(catalogue, tmp_path):
    manifest = catalogue(4)
    frame = pd.read_csv(manifest)
    frame.assign(original="images/none.png", augmentation="rotate").to_csv(manifest, index=False)
    with pytest.raises(DataError, match="no row shows an original without augmentation"):
        load(manifest, tmp_path / "run")
