import numpy as np
import pytest

from augrank.augmentations import Augmentation, AugmentationSet, Step, augmentation_set
from augrank.preprocess import Normalizer
from tests.training.conftest import draw
from training.samples import Batches, Jitter, Samples, channel_statistics, may_flip

SEED_SET = augmentation_set("seed")
PLAIN = Normalizer((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.fixture
def pixels() -> np.ndarray:
    return np.stack([draw(number) for number in range(5)])


@pytest.fixture
def samples() -> Samples:
    file, label = np.repeat(np.arange(5), 6), np.tile(np.arange(6), 5)
    return Samples(file, label, label)


def batches(pixels: np.ndarray, batch_size: int = 7, threads: int = 2) -> Batches:
    return Batches(pixels, SEED_SET, PLAIN, batch_size=batch_size, threads=threads)


def test_in_order_gives_the_served_pictures(pixels, samples):
    made = np.concatenate(list(batches(pixels).in_order(samples)))
    assert made.shape == (30, 40, 40, 3)
    for row in (0, 9, 29):
        picture = SEED_SET.augmentations[samples.applied[row]].apply(pixels[samples.file[row]])
        np.testing.assert_allclose(made[row], picture / 255.0, atol=1e-6)


def test_an_epoch_sees_every_sample_once_with_its_label(pixels, samples):
    jitter = Jitter(seed=1, flip=True)
    labels = [made.label for made in batches(pixels).shuffled(samples, jitter, epoch=1)]
    assert [len(label) for label in labels] == [7, 7, 7, 7, 2]
    assert np.bincount(np.concatenate(labels)).tolist() == [5] * 6
    # 29 samples would leave one alone in the last batch: batch norm needs two.
    rest = samples[np.arange(29)]
    counts = [len(made.label) for made in batches(pixels).shuffled(rest, jitter, 1)]
    assert counts == [7, 7, 7, 7, 2]


def test_epochs_are_the_same_by_seed_and_threads_and_differ_by_number(pixels, samples):
    def epoch(number: int, threads: int) -> np.ndarray:
        made = batches(pixels, threads=threads).shuffled(samples, Jitter(1, True), number)
        return np.concatenate([batch.pictures for batch in made])

    np.testing.assert_array_equal(epoch(1, 1), epoch(1, 3))
    assert (epoch(1, 1) != epoch(2, 1)).any()


def test_jitter_differs_within_a_batch_and_stays_small(pixels):
    jitter = Jitter(seed=0, flip=False)
    moved = [jitter(pixels[1], 1, number, flip=True) for number in range(8)]
    assert len({picture.tobytes() for picture in moved}) == 8
    assert np.mean([np.abs(m.astype(int) - pixels[1]).mean() for m in moved]) < 12


def test_flips_mirror_only_where_they_may(pixels):
    lopsided = pixels[0].copy()
    lopsided[:, :20] = 0

    def left_dark(jitter: Jitter, *, flip: bool) -> list[bool]:
        pictures = [jitter(lopsided, 1, number, flip=flip) for number in range(40)]
        return [picture[:, :15].mean() < picture[:, -15:].mean() for picture in pictures]

    assert 8 < sum(left_dark(Jitter(0, flip=True), flip=True)) < 32
    assert all(left_dark(Jitter(0, flip=True), flip=False))
    assert all(left_dark(Jitter(0, flip=False), flip=True))


def test_sets_that_flip_forbid_flipping():
    assert may_flip(SEED_SET)
    mirrored = Augmentation(name="mirror", steps=(Step(op="HorizontalFlip"),))
    own = AugmentationSet(name="own", augmentations=(Augmentation(name="original"), mirrored))
    assert not may_flip(own)


def test_statistics_are_those_of_the_augmented_pictures(pixels, samples):
    mean, std = channel_statistics(pixels, SEED_SET, samples, threads=2)
    every = np.stack(
        [SEED_SET.augmentations[a].apply(pixels[f])
         for f, a in zip(samples.file, samples.applied, strict=True)]
    ).reshape(-1, 3) / 255.0  # fmt: skip
    np.testing.assert_allclose(mean, every.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(std, every.std(axis=0), atol=1e-6)
