from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augrank.errors import DataError
from augrank.images.preprocess import Normalizer
from tests.support.training import AUGMENTATIONS, CONFIG, PIXELS, samples
from training.backbone import embed as embeddings
from training.backbone.checkpoint import Checkpoints, Epoch
from training.backbone.crops import RandomCrops
from training.backbone.embed import TorchEmbedder, embed_all, pair_keys
from training.backbone.loader import BatchLoader, ImageSet
from training.backbone.model import Backbone
from training.backbone.objective import Objective
from training.backbone.trainer import Trainer, TrainingData, evaluate
from training.common.context import TrainContext
from training.common.device import Device
from training.config import FitConfig


def batches(batch_size: int = 16) -> BatchLoader:
    normalizer = Normalizer((0.8, 0.8, 0.8), (0.3, 0.3, 0.3))
    return BatchLoader(
        ImageSet(PIXELS, AUGMENTATIONS, normalizer),
        TrainContext(),
        batch_size=batch_size,
        threads=2,
    )


class Stop(Exception):
    """A stand-in for an interrupt."""


def training_data() -> TrainingData:
    crops, objective = RandomCrops(0, flip=True), Objective((6,))
    return TrainingData(batches(), samples(range(9)), samples(range(9, 12)), crops, objective)


def train(folder: Path, reporter, config: FitConfig = CONFIG, *, stop_after: int = 0):
    backbone = Backbone("resnet18", 6, seed=0)

    def on_epoch(epoch: Epoch) -> None:
        if epoch.number == stop_after:
            raise Stop

    data = training_data()
    ctx = TrainContext(reporter)
    result = Trainer(backbone, data, config, Checkpoints(folder), ctx).fit(on_epoch)
    return backbone, result


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["onecycle", "plateau"])
def test_resumed_equals_uninterrupted(tmp_path, reporter, schedule):
    config = CONFIG.model_copy(update={"schedule": schedule})
    whole, result = train(tmp_path / "whole", reporter, config)
    for stop_after in (1, 2):
        with pytest.raises(Stop):
            train(tmp_path / "cut", reporter, config, stop_after=stop_after)
    cut, resumed = train(tmp_path / "cut", reporter, config)
    for name, value in whole.plain_state().items():
        assert torch.equal(value, cut.plain_state()[name]), name
    last = [Checkpoints(tmp_path / part).load() for part in ("whole", "cut")]
    assert all(torch.equal(last[0].model[name], last[1].model[name]) for name in last[0].model)
    assert resumed.best == result.best

    def without_times(history):
        timeless = {"seconds": 0.0, "samples_per_s": 0.0, "input_share": 0.0}
        return [replace(epoch, **timeless) for epoch in history]

    assert without_times(resumed.epochs) == without_times(result.epochs)


def test_divergence_is_reported_and_leaves_no_checkpoint(tmp_path, reporter):
    wild = CONFIG.model_copy(update={"learning_rate": 1e18, "schedule": "plateau"})
    with pytest.raises(DataError, match=r"diverged.*--learning-rate"):
        train(tmp_path, reporter, wild)
    assert not list(tmp_path.glob("*.pt"))


@pytest.mark.slow
def test_checkpoints_are_plain_tensors_and_the_best_weights_are_kept(tmp_path, reporter):
    backbone, result = train(tmp_path, reporter, CONFIG.model_copy(update={"epochs": 2}))
    content = torch.load(tmp_path / "last.pt", weights_only=True)
    assert [epoch["number"] for epoch in content["history"]] == [1, 2]
    best = max(result.epochs, key=lambda e: (e.validation_accuracy, -e.validation_loss))
    assert result.best == best.number
    scored = evaluate(backbone, training_data(), samples(range(9, 12)), TrainContext())
    assert scored.accuracy == pytest.approx(best.validation_accuracy)
    assert scored.loss == pytest.approx(best.validation_loss, rel=1e-4)


@pytest.mark.slow
def test_one_cycle_ends_low_and_a_plateau_starts_high(tmp_path, reporter):
    _, cycle = train(tmp_path / "a", reporter, CONFIG.model_copy(update={"epochs": 2}))
    assert cycle.epochs[-1].learning_rate < 1e-5
    plateau = CONFIG.model_copy(update={"epochs": 1, "schedule": "plateau"})
    assert train(tmp_path / "b", reporter, plateau)[1].epochs[0].learning_rate == 0.02


def test_precision_is_requested_or_chosen():
    assert Device.choose("cpu", "bf16").name == "cpu, bf16"
    assert Device.choose("cpu", "fp32").name == "cpu, fp32"
    fast = Device.choose("cpu", "auto").precision == "bf16"
    flags = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    assert fast == (not {"amx_tile", "avx512_bf16"}.isdisjoint(flags))


def test_embeddings_are_found_by_file_and_augmentation(reporter):
    backbone = Backbone("resnet18", 6, seed=0)
    keys = pair_keys(np.array([3, 0, 3, 7]), np.array([2, 0, 2, 5]), 6)
    embedder = TorchEmbedder(backbone, Device())
    table = embed_all(embedder, backbone, batches(2), keys, 6, TrainContext(reporter))
    assert table.features.shape == (3, 512)
    assert table.features.dtype == np.float32
    file, applied = np.array([[7, 0]]), np.array([[5, 0]])
    assert table.rows(file, applied).tolist() == [[2, 0]]
    image = AUGMENTATIONS.augmentations[5].apply(PIXELS[7])
    batch = Normalizer((0.8, 0.8, 0.8), (0.3, 0.3, 0.3)).batch([image])
    with torch.inference_mode():
        features, logits = backbone.eval()(torch.from_numpy(batch))
    np.testing.assert_allclose(table.features[2], features[0], atol=1e-4)
    np.testing.assert_allclose(table.logits[2], logits[0], atol=1e-4)
    with pytest.raises(KeyError):
        table.rows(np.array([1]), np.array([1]))


def test_embeddings_are_complete_for_any_chunk_size(reporter, monkeypatch):
    backbone, keys = Backbone("resnet18", 6, seed=0), np.arange(30, 53)

    def made() -> np.ndarray:
        ctx = TrainContext(reporter)
        embedder = TorchEmbedder(backbone, ctx.device)
        return embed_all(embedder, backbone, batches(2), keys, 6, ctx).features

    whole = made()
    for piece in (1, 4, 7):
        monkeypatch.setattr(embeddings, "CHUNK", piece)
        np.testing.assert_allclose(made(), whole, atol=1e-5)


@pytest.mark.slow
def test_the_last_layer_alone_then_all_of_the_network(tmp_path, reporter):
    """An interrupt between or within the phases changes nothing."""
    weights = tmp_path / "start.pt"
    torch.save(Backbone("resnet18", 6, seed=0).plain_state(), weights)
    config = CONFIG.model_copy(
        update={"epochs": 3, "freeze_epochs": 2, "weights": str(weights), "learning_rate": None}
    )
    assert [config.phase(n).peak_learning_rate for n in (1, 2, 3)] == [0.1, 0.1, 0.02]
    assert [config.phase(n).epochs for n in (1, 3)] == [2, 1]
    start = Backbone("resnet18", 6, seed=0).plain_state()
    whole, history = train(tmp_path / "whole", reporter, config)
    seen = {}
    for stop in (1, 2):
        with pytest.raises(Stop):
            train(tmp_path / f"stop{stop}", reporter, config, stop_after=stop)
        seen[stop] = torch.load(tmp_path / f"stop{stop}" / "last.pt", weights_only=True)["model"]
        resumed, _ = train(tmp_path / f"stop{stop}", reporter, config)
        assert all(
            torch.equal(value, whole.plain_state()[name])
            for name, value in resumed.plain_state().items()
        )
    for name, value in seen[2].items():
        moved = not torch.equal(value, start[name])
        assert moved == name.startswith("fc."), name
    assert len(history) == 3
    if history.best == 3:
        assert not torch.equal(whole.plain_state()["conv1.weight"], start["conv1.weight"])
