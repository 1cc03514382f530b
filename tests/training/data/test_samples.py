import dataclasses

import numpy as np
import pytest
import torch

from augrank.images.augmentations import Augmentation, AugmentationSet, Step, augmentation_set
from augrank.images.preprocess import Normalizer
from tests.support.shapes import draw
from training.backbone.crops import RandomCrops, crop_and_resize, full_boxes, may_flip
from training.backbone.loader import EVALUATION_BATCH, BatchLoader, ImageSet
from training.common.context import TrainContext
from training.common.device import Device
from training.data.samples import MAX_RUN, NO_PIXELS, ChannelMoments, Samples, channel_statistics
from training.distributed.world import World

CPU = Device("cpu", "fp32")
SEED_SET = augmentation_set("seed")
PLAIN = Normalizer((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.stack([draw(number) for number in range(5)])


@pytest.fixture
def samples() -> Samples:
    file, label = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5)
    return Samples(file, label, label)


def batches(pixels: np.ndarray, batch_size: int = 7, threads: int = 2) -> BatchLoader:
    return BatchLoader(
        ImageSet(pixels, SEED_SET, PLAIN), TrainContext(), batch_size=batch_size, threads=threads
    )


def test_images_of_an_owner_come_together(samples):
    owner = np.tile([3, 1, 4, 9, 2], 6)
    owned = dataclasses.replace(samples, owner=owner)
    one, other = (owned.shuffled(np.random.default_rng(seed)) for seed in (0, 1))
    for order in (one, other):
        assert sorted(order) == list(range(30))
        assert (owner[order].reshape(5, 6) == owner[order][::6, None]).all()
    assert owner[one][::6].tolist() != owner[other][::6].tolist()  # so do the owners' turns
    assert (np.diff(one[:6]) < 0).any()  # their images too
    assert owned.by_owner().owner.tolist() == sorted(owner)
    assert owned.by_owner().file[:6].tolist() == samples.file[owner == 1].tolist()
    assert samples.by_owner() is samples


def test_an_owner_of_many_fills_no_batch(samples):
    many = samples[np.resize(np.arange(30), 2000)]
    owner = np.where(np.arange(2000) < 1000, 0, np.arange(2000) // 2)
    order = dataclasses.replace(many, owner=owner).shuffled(np.random.default_rng(0))
    assert sorted(order) == list(range(2000))
    runs = np.diff(np.flatnonzero(np.r_[True, np.diff(owner[order]) != 0, True]))
    assert max(runs) <= 3 * MAX_RUN  # two runs of one may meet
    batches_of_them = (owner[order] == 0).reshape(-1, 250).mean(axis=1)
    assert 0.3 < batches_of_them.min() < batches_of_them.max() < 0.7


def test_a_batchs_shards_keep_owners_together(pixels, samples):
    owned = dataclasses.replace(samples, owner=np.repeat(np.arange(15), 2), label=np.arange(30))
    loader = batches(pixels, batch_size=12)
    parts = loader.shuffled(owned, RandomCrops(seed=1, flip=True), epoch=1, micro_batches=3)
    for part in parts:
        assert sorted(np.bincount(part.label.numpy() // 2)[part.label.numpy() // 2]) == [2] * len(
            part.label
        )


def test_in_order_gives_the_served_images(pixels, samples):
    made = torch.cat(list(batches(pixels).in_order(samples)))
    assert made.shape == (30, 3, 40, 40)
    for row in (0, 9, 29):
        image = SEED_SET.augmentations[samples.applied[row]].apply(pixels[samples.file[row]])
        np.testing.assert_allclose(made[row].permute(1, 2, 0), image / 255.0, atol=1e-6)


def test_what_is_measured_comes_in_batches_of_a_bounded_size(pixels, samples):
    many = samples[np.resize(np.arange(30), 2 * EVALUATION_BATCH + 3)]
    counts = [len(made) for made in batches(pixels, batch_size=1_000).in_order(many)]
    assert counts == [EVALUATION_BATCH, EVALUATION_BATCH, 3]
    large = np.zeros((1, 224, 224, 3), np.uint8)
    once = Samples(*np.zeros((3, 20), np.int64))
    counts = [len(made) for made in batches(large, batch_size=1_000).in_order(once)]
    assert counts == [15, 5]  # whose pixels a CPU's caches hold


def test_an_epoch_sees_every_sample_once_with_its_label(pixels, samples):
    crops = RandomCrops(seed=1, flip=True)
    labels = [made.label for made in batches(pixels).shuffled(samples, crops, epoch=1)]
    assert [len(label) for label in labels] == [7, 7, 7, 7, 2]
    assert np.bincount(torch.cat(labels)).tolist() == [5] * 6
    # 29 samples would leave one alone in the last batch: batch norm needs two.
    rest = samples[np.arange(29)]
    counts = [len(made.label) for made in batches(pixels).shuffled(rest, crops, 1)]
    assert counts == [7, 7, 7, 7, 2]


def test_epochs_are_the_same_by_seed_and_threads_and_differ_by_number(pixels, samples):
    def epoch(number: int, threads: int) -> np.ndarray:
        made = batches(pixels, threads=threads).shuffled(samples, RandomCrops(1, True), number)
        return torch.cat([batch.images for batch in made]).numpy()

    np.testing.assert_array_equal(epoch(1, 1), epoch(1, 3))
    assert (epoch(1, 1) != epoch(2, 1)).any()


def shown(image: np.ndarray, crops: RandomCrops, count: int = 40) -> list[np.ndarray]:
    side = image.shape[0]
    return [crop_and_resize(image, box, side) for box in crops.boxes(1, count, side)]


def test_jitter_differs_within_a_batch_and_stays_small(pixels):
    moved = shown(pixels[1], RandomCrops(seed=0, flip=False), 20)
    assert len({image.tobytes() for image in moved}) > 15
    assert np.mean([np.abs(m.astype(int) - pixels[1]).mean() for m in moved]) < 12


def test_windows_show_what_lies_in_them_and_white_beyond():
    image = np.random.default_rng(0).integers(0, 200, (20, 20, 3), np.uint8)
    whole = full_boxes(1, 20)[0]
    assert np.array_equal(crop_and_resize(image, whole, 20), image)
    assert crop_and_resize(image, whole, 10).shape == (10, 10, 3)
    beyond = crop_and_resize(image, np.array([-2, 3, 20, 20, 1]), 20)
    assert np.array_equal(beyond[:17, :18], image[3:, :18][:, ::-1])
    assert (beyond[17:] == 255).all()
    assert (beyond[:, 18:] == 255).all()


def test_flips_mirror_only_where_they_may(pixels):
    lopsided = pixels[:1].copy()
    lopsided[:, :, :20] = 0
    plain = AugmentationSet(name="plain", augmentations=SEED_SET.augmentations[:2])

    def left_dark(label: int, *, flip: bool) -> int:
        """Count images of forty that are dark on the left; label 1 is a file augmented already."""
        same = np.zeros(40, np.int64)
        made = BatchLoader(
            ImageSet(lopsided, plain, PLAIN), TrainContext(), batch_size=40, threads=1
        )
        shown = Samples(same, same, same + label, mirrored=same + label == 0)
        (batch,) = made.shuffled(shown, RandomCrops(0, flip), epoch=1)
        left, right = (batch.images[:, :, :, part].mean((1, 2, 3)) for part in
                       (slice(15), slice(-15, None)))  # fmt: skip
        return int((left < right).sum())

    assert 8 < left_dark(0, flip=True) < 32
    assert left_dark(1, flip=True) == 40
    assert left_dark(0, flip=False) == 40


def test_batches_in_pieces_are_those_of_as_many_processes(pixels, samples):
    def pieces(rank: int, size: int, count: int):
        made = BatchLoader(
            ImageSet(pixels, SEED_SET, PLAIN),
            TrainContext(world=World(rank, size)),
            batch_size=16,
            threads=1,
        )
        return list(made.shuffled(samples, RandomCrops(0, flip=True), epoch=1, micro_batches=count))

    alone = pieces(0, 1, 2)
    assert [piece.completes for piece in alone] == [False, True] * 2
    for rank in range(2):
        for mine, theirs in zip(alone[rank::2], pieces(rank, 2, 1), strict=True):
            assert torch.equal(mine.images, theirs.images)
            assert mine.weight * 2 == pytest.approx(theirs.weight)
    assert sum(piece.weight for piece in alone[:2]) == pytest.approx(1)


@pytest.mark.parametrize("size", [40, 24])
def test_batches_augmented_on_the_device_are_those_made_by_threads(pixels, samples, size):
    def made(on_device: bool):
        both = BatchLoader(
            ImageSet(pixels, SEED_SET, PLAIN),
            TrainContext(),
            batch_size=16,
            threads=2,
            augment_on_device=on_device,
        )
        return list(both.shuffled(samples, RandomCrops(0, flip=True), epoch=1, size=size))

    for here, there in zip(made(False), made(True), strict=True):
        assert torch.equal(here.label, there.label)
        assert here.images.stride() == there.images.stride()
        torch.testing.assert_close(here.images, there.images, rtol=0, atol=1.01 / 255)
        assert (here.images - there.images).abs().mean() < 1e-5


def test_batches_have_the_requested_smaller_side(pixels, samples):
    made = next(batches(pixels).shuffled(samples, RandomCrops(0, flip=False), 1, size=24))
    assert made.images.shape == (7, 3, 24, 24)


def test_sets_that_flip_forbid_flipping():
    assert may_flip(SEED_SET)
    mirrored = Augmentation(name="mirror", steps=(Step(op="HorizontalFlip"),))
    own = AugmentationSet(name="own", augmentations=(Augmentation(name="original"), mirrored))
    assert not may_flip(own)


def test_statistics_are_those_of_the_augmented_images(pixels, samples):
    mean, std = channel_statistics(pixels, SEED_SET, samples, threads=2)
    every = np.stack(
        [SEED_SET.augmentations[a].apply(pixels[f])
         for f, a in zip(samples.file, samples.applied, strict=True)]
    ).reshape(-1, 3) / 255.0  # fmt: skip
    np.testing.assert_allclose(mean, every.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(std, every.std(axis=0), atol=1e-6)
    halves = [sum(map(ChannelMoments.of, part), NO_PIXELS) for part in (pixels[:2], pixels[2:])]
    together = (halves[0] + halves[1]).mean_and_deviation()
    np.testing.assert_allclose(together[0], (pixels / 255).mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(together[1], (pixels / 255).std((0, 1, 2)), atol=1e-6)
