"""The memory of batches is reused, but never while a batch is in use."""

import weakref

import numpy as np
import pytest
import torch

from augrank.images.preprocess import Normalizer
from tests.support.training import AUGMENTATIONS, PIXELS, samples
from training.backbone.buffers import BufferPool
from training.backbone.crops import RandomCrops
from training.backbone.loader import BatchLoader, ImageSet
from training.common.context import TrainContext

SHAPE = (2, 3)


def test_memory_is_reused_only_when_nothing_refers_to_it():
    pool = BufferPool(pinned=False)
    first = pool.take(SHAPE, np.float32)
    view = torch.from_numpy(first).permute(1, 0)
    second = pool.take(SHAPE, np.float32)
    assert second is not first
    address = first.ctypes.data
    del first
    assert pool.take(SHAPE, np.float32).ctypes.data != address  # the view is in use
    pool = BufferPool(pinned=False)
    first = pool.take(SHAPE, np.float32)
    address = first.ctypes.data
    del first
    assert pool.take(SHAPE, np.float32).ctypes.data == address
    del view


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array[1],
        lambda array: array.reshape(-1)[2:],
        lambda array: torch.from_numpy(array).permute(1, 0)[0],
        lambda array: torch.from_numpy(array).float().numpy()[:1],
        lambda array: memoryview(array),
    ],
)
def test_whatever_shares_a_batch_keeps_its_memory_in_use(keep):
    pool = BufferPool(pinned=False)
    array = pool.take(SHAPE, np.float32)
    array[:] = 7
    kept = keep(array)
    del array
    assert pool.free_buffers == 0
    pool.take(SHAPE, np.float32)[:] = 0
    assert np.asarray(kept).min() == 7
    assert pool.free_buffers == 1  # that of the second array
    del kept
    assert pool.free_buffers == 2


def test_buffers_that_are_too_small_are_freed():
    pool = BufferPool(pinned=False)
    former = [pool.take((side, 3), np.float32) for side in (2, 2, 4)]
    in_use = former.pop(0)
    in_use[:] = 7
    former.clear()
    assert pool.free_buffers == 2  # kept to be used again
    larger = pool.take((5, 3), np.float32)
    assert pool.free_buffers == 0
    gone = weakref.ref(larger)
    address = larger.ctypes.data
    del larger
    assert gone() is None
    smaller = pool.take((4, 3), np.float32)  # fits into the larger buffer
    assert smaller.ctypes.data == address
    assert (in_use == 7).all()


def test_batches_that_a_caller_keeps_are_not_overwritten():
    """Keep a whole epoch while many threads make the next ones from the same pool."""
    images = ImageSet(PIXELS, AUGMENTATIONS, Normalizer((0.8,) * 3, (0.3,) * 3))
    loader = BatchLoader(images, TrainContext(), batch_size=16, threads=4)
    train, crops = samples(range(11)), RandomCrops(0, flip=True)
    kept = list(loader.shuffled(train, crops, 1))
    copies = [batch.images.clone() for batch in kept]
    addresses = {batch.images.data_ptr() for batch in kept}
    assert len(addresses) == len(kept)
    seen = set()
    for epoch in range(2, 6):
        for batch in loader.shuffled(train, crops, epoch):
            seen.add(batch.images.data_ptr())
    assert not seen & addresses
    assert len(seen) < 4 * len(kept)  # memory is used again from epoch to epoch
    for batch, copy in zip(kept, copies, strict=True):
        assert torch.equal(batch.images, copy)
    again = list(loader.shuffled(train, crops, 1))
    assert all(torch.equal(a.images, b) for a, b in zip(again, copies, strict=True))
