"""The optimizer: micro-batches, several processes, the moving average (EMA), frozen layers."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn.modules.batchnorm import _BatchNorm

from augrank.errors import DataError
from tests.support.patience import PATIENCE_S
from tests.support.ports import free_port
from tests.support.training import CONFIG, CPU, SAME_MATHS, STEPS, losses, made
from training.backbone.compile import CompiledForOneShape, should_compile, validate_compile
from training.backbone.ema import Ema
from training.backbone.model import Backbone
from training.backbone.optimizer import BackboneOptimizer
from training.common.context import TrainContext
from training.common.device import DTYPES, Device
from training.distributed.world import World

OTHER_NORMALISATION = 0.15
RANK = """
import json, torch
from tests.support.training import losses
from training.distributed.world import process_group
torch.set_num_threads(1)
with process_group() as ours:
    seen = [losses(ours, 1), losses(ours, 1, fixed=True), losses(ours, 2, fixed=True)]
    if ours.is_main:
        print(json.dumps(seen))
"""


def optimizer_of(backbone: Backbone, device: Device = CPU, **changes) -> BackboneOptimizer:
    config = CONFIG.model_copy(update={"batch_size": 16, **changes})
    return BackboneOptimizer(backbone, config, TrainContext(device=device), steps=STEPS)


@pytest.mark.slow
def test_two_processes_learn_as_one_with_two_micro_batches():
    """Two processes equal one with two micro-batches, and are close to one with the whole batch."""
    port = free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
                 "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [rank.communicate(timeout=PATIENCE_S) for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), outputs[0][1] + outputs[1][1]
    together, *fixed = json.loads(outputs[0][0].splitlines()[-1])
    torch.set_num_threads(1)
    in_pieces, alone = losses(World(), 2), losses(World(), 1)
    assert len(together) == len(alone) == 5
    np.testing.assert_allclose(together, in_pieces, rtol=SAME_MATHS)
    whole = losses(World(), 1, fixed=True)
    for seen in fixed:  # in one piece and in two: where all is normalised alike, as with one
        np.testing.assert_allclose(seen[:STEPS], whole[:STEPS], rtol=SAME_MATHS)
    np.testing.assert_allclose(together[:STEPS], alone[:STEPS], rtol=OTHER_NORMALISATION)
    assert not np.allclose(together, alone, rtol=SAME_MATHS)  # the halves normalise by themselves


def test_the_ema_follows_the_weights_and_is_evaluated(tmp_path):
    backbone = Backbone("resnet18", 6, seed=0)
    average = Ema(backbone, 0.5)
    start = backbone.net.fc.weight.detach().clone()
    with torch.no_grad():
        backbone.net.fc.weight += 1
        backbone.net.bn1.num_batches_tracked += 3
    for _ in range(2):
        average.update(backbone)
    # Steps 1 and 2 have decays of 2/11 and 3/12.
    expected = start + 1 - (2 / 11) * (3 / 12)
    torch.testing.assert_close(average.backbone.net.fc.weight, expected)
    assert average.backbone.net.bn1.num_batches_tracked == 3
    other = Ema(Backbone("resnet18", 6, seed=1), 0.5)
    other.load_state_dict(average.state_dict())
    torch.testing.assert_close(other.backbone.net.fc.weight, expected)
    assert optimizer_of(backbone).evaluated is backbone
    assert optimizer_of(backbone, average=0.9).evaluated is not backbone


def test_a_frozen_backbone_learns_in_its_last_layer_alone():
    backbone = Backbone("resnet18", 6, seed=0)
    backbone.freeze()
    before = {name: value.clone() for name, value in backbone.plain_state().items()}
    learning = optimizer_of(backbone)
    learning.train()
    for batch in made():
        learning.step(batch)
    changed = {
        n for n, value in backbone.plain_state().items() if not torch.equal(value, before[n])
    }
    assert changed == {"fc.weight", "fc.bias"}


def test_a_first_step_that_overflows_leaves_no_trace(monkeypatch):
    monkeypatch.setitem(DTYPES, "fp16", "bfloat16")
    device = Device("cpu", "fp16")
    backbone = Backbone("resnet18", 6, seed=0)
    learning = optimizer_of(backbone, device, learning_rate=0.05, schedule="plateau")
    state = learning.state_dict()
    state["scaler"]["scale"] = float("inf")
    learning.load_state_dict(state)
    before = [weight.detach().clone() for weight in backbone.parameters()]
    learning.train()
    (batch, *_) = made(device)
    learning.step(batch)
    torch.testing.assert_close([*backbone.parameters()], before, rtol=0, atol=0)
    momentum = learning.state_dict()["optimizer"]["state"].values()
    assert not any(kept["momentum_buffer"].any() for kept in momentum)


@pytest.mark.parametrize("arithmetic", ["fp16", "bf16"])
def test_mixed_precision_learns_as_well(arithmetic, monkeypatch):
    """Test float16's gradient scaling with bfloat16, because CPUs barely support float16."""
    monkeypatch.setitem(DTYPES, "fp16", "bfloat16")
    device = Device("cpu", arithmetic)
    backbone = Backbone("resnet18", 6, seed=0)
    learning = optimizer_of(backbone, device, learning_rate=0.05, schedule="plateau")
    learning.train()
    batches = made(device, pieces=4)
    batch = next(each for each in batches if each.completes)  # four images: CPUs without bfloat16
    batches.close()
    seen = [float(learning.step(batch)[0]) for _ in range(5)]
    assert seen[-1] < 0.5 * seen[0]
    assert bool(learning.state_dict()["scaler"]) == (arithmetic == "fp16")


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(DataError, match="fp16 needs a GPU"):
        Device.choose("cpu", "fp16")


def test_batch_normalisation_over_processes_needs_gpus():
    with pytest.raises(DataError, match="--sync-bn needs GPUs"):
        optimizer_of(Backbone("resnet18", 6, seed=0), sync_bn=True)


def test_backbones_that_normalise_over_processes_are_folded_as_well():
    backbone = Backbone("resnet50", 6, seed=0).eval()
    images = torch.rand(2, 3, 32, 32)
    expected = backbone(images)
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    folded = backbone.folded()
    assert not [m for m in folded.modules() if isinstance(m, _BatchNorm)]
    torch.testing.assert_close(folded(images), expected, rtol=1e-4, atol=1e-5)


def test_sides_grow_over_two_thirds_of_the_epochs():
    config = CONFIG.model_copy(update={"image_size": 96, "epochs": 9, "progressive": 48})
    assert [config.side(epoch) for epoch in range(1, 10)] == [48, 64, 64, 80, 80, 96, 96, 96, 96]
    assert CONFIG.side(1) == CONFIG.image_size


def no_compiler(_network, **_options):
    def fails(_images):
        raise TorchDynamoException("no C compiler was found\nand more")

    return fails


def test_if_compiling_fails_training_continues_unless_it_was_requested(monkeypatch):
    monkeypatch.setattr(torch, "compile", no_compiler)
    backbone = Backbone("resnet18", 6, seed=0)
    images = torch.rand(2, 3, 32, 32)
    network = CompiledForOneShape(backbone, 32, required=False)
    assert network(images)[1].shape == (2, 6)
    assert network.failure == "no C compiler was found"
    assert network(images)[1].shape == (2, 6)
    learning = optimizer_of(backbone, compile=True)
    with pytest.raises(DataError, match=r"no C compiler was found\. Leave out --compile"):
        learning.step(next(made()))


def test_one_shape_is_compiled_and_others_run_uncompiled(monkeypatch):
    seen = []

    def compiles(network, *, dynamic):
        assert dynamic is False
        return lambda images: seen.append(tuple(images.shape)) or network(images)

    monkeypatch.setattr(torch, "compile", compiles)
    network = CompiledForOneShape(Backbone("resnet18", 6, seed=0).eval(), 32, required=True)
    for count, side in ((4, 64), (4, 32), (2, 32), (4, 32), (4, 64)):
        assert network(torch.rand(count, 3, side, side))[1].shape == (count, 6)
    assert seen == [(4, 3, 32, 32)] * 2


def test_long_runs_on_gpus_are_compiled():
    gpu, cpu = Device("cuda", "bf16"), Device("cpu", "bf16")
    config = CONFIG.model_copy(update={"epochs": 10})
    assert [should_compile(config, device, 1_000) for device in (gpu, cpu)] == [True, False]
    assert not should_compile(config, gpu, 100)
    assert should_compile(config.model_copy(update={"compile": True}), cpu, 1)
    assert not should_compile(config.model_copy(update={"compile": False}), gpu, 1_000)
    uneven = config.model_copy(update={"batch_size": 64, "accumulate": 3})
    assert not should_compile(uneven, gpu, 1_000)
    with pytest.raises(DataError, match="that 6 divides"):
        validate_compile(uneven.model_copy(update={"compile": True}), 2)


class ProcessesAlone:
    """A stand-in for a ProcessGroup, which cannot be copied."""

    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'ProcessGroup' object")


def test_a_backbone_that_is_normalised_over_processes_can_be_copied():
    backbone = Backbone("resnet18", 6, seed=0)
    nn.SyncBatchNorm.convert_sync_batchnorm(backbone, together := ProcessesAlone())
    average = Ema(backbone, 0.5).backbone
    assert average.net.bn1.process_group is together
    assert average.net.bn1.weight is not backbone.net.bn1.weight
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        folded, whole = backbone.folded()(images)[1], backbone.eval()(images)[1]
    torch.testing.assert_close(folded, whole, atol=1e-4, rtol=1e-4)
