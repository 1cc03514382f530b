"""Batches prefetched to a GPU equal those that the CPU makes."""

import pytest
import torch

from augrank.images.preprocess import Normalizer
from tests.support.training import AUGMENTATIONS, CPU, PIXELS, samples
from training.backbone.crops import RandomCrops
from training.backbone.loader import BatchLoader, ImageSet
from training.common.context import TrainContext
from training.common.device import Device

ONE_LEVEL = 1.01 / 255 / 0.3  # by which swivel may be off


def batches(device: Device, *, on_device: bool | None = None) -> BatchLoader:
    images = ImageSet(PIXELS, AUGMENTATIONS, Normalizer((0.8,) * 3, (0.3,) * 3))
    ctx = TrainContext(device=device)
    return BatchLoader(images, ctx, batch_size=16, threads=2, augment_on_device=on_device)


def test_batches_are_waited_for_only_while_threads_make_them():
    made = list(batches(CPU).shuffled(samples(range(11)), RandomCrops(0, flip=True), 1))
    assert len(made) == 5
    assert all(0 <= batch.waited_s < 60 for batch in made)
    assert made[0].waited_s > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("on_device", [True, False])
def test_batches_prefetched_to_a_busy_gpu_equal_those_of_the_cpu(on_device):
    here, there = batches(CPU), batches(Device.choose("cuda", "fp32"), on_device=on_device)
    train, crops = samples(range(11)), RandomCrops(0, flip=True)
    work = torch.randn(2048, 2048, device="cuda")
    for epoch in range(1, 21):
        pairs = zip(here.shuffled(train, crops, epoch), there.shuffled(train, crops, epoch),
                    strict=True)  # fmt: skip
        for want, got in pairs:
            for _ in range(5):
                work = (work @ work).tanh()
            used = got.images * 1
            assert torch.equal(got.label.cpu(), want.label)
            torch.testing.assert_close(used.cpu(), want.images, atol=ONE_LEVEL, rtol=0)
    for want, got in zip(here.in_order(train), there.in_order(train), strict=True):
        work = (work @ work).tanh()
        torch.testing.assert_close(got.cpu(), want, atol=1e-5, rtol=0)
