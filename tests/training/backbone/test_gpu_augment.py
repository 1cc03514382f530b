"""Batches made with torch equal the images that augrank.images.augmentations makes singly."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from augrank.errors import DataError
from augrank.images.augmentations import Augmentation, AugmentationSet, Step, augmentation_set
from augrank.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Normalizer
from simulation.render import render_image
from tests.support.shapes import draw
from training.backbone.crops import RandomCrops, crop_and_resize, crop_and_resize_batch
from training.backbone.gpu_augment import BatchAugmenter

CPU = torch.device("cpu")
SEED_SET = augmentation_set("seed")
BYTES = Normalizer((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))  # leaves values as they are
# Without fused multiply-adds, as on CPUs before AVX2, OpenCV's own float32 is off by this at most.
SWIVEL_OFF, SWIVEL_SHARE = 1, 1 / 2000
EACH = 4
KINDS = ("rendered", "photo", "drawing", "noise")


def images_of(kind: str, side: int, count: int) -> np.ndarray:
    """Return random images, uint8 (count, side, side, 3)."""
    rng = np.random.default_rng(side)

    def image(number: int) -> np.ndarray:
        if kind == "rendered":
            large, _ = render_image(("car", "sneaker")[number % 2], number, seed=0, size=256)
            return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
        if kind == "drawing":
            return draw(number, side)
        if kind == "noise":
            return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        coarse = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        grain = rng.normal(0, 4, smooth.shape)
        return np.clip(smooth + grain, 0, 255).astype(np.uint8)

    return np.stack([image(number) for number in range(count)])


def set_of(*augmentations: Augmentation) -> AugmentationSet:
    return AugmentationSet(name="own", augmentations=(SEED_SET["original"], *augmentations))


def in_batch(
    chosen: AugmentationSet,
    images: np.ndarray,
    applied: np.ndarray,
    boxes: np.ndarray | None = None,
    size: int | None = None,
) -> np.ndarray:
    """Return the images of a batch before normalisation, (B, S, S, 3)."""
    made = BatchAugmenter(chosen, BYTES, CPU)
    crop_boxes = None if boxes is None else torch.from_numpy(boxes.astype(np.float32))
    batch = made(torch.from_numpy(images), applied, crop_boxes, size)
    return batch.permute(0, 2, 3, 1).numpy()


def one_by_one(chosen: AugmentationSet, images: np.ndarray, applied: np.ndarray) -> np.ndarray:
    made = zip(images, applied, strict=True)
    return np.stack([chosen.augmentations[number].apply(image) for image, number in made])


def assert_swivelled(got: np.ndarray, want: np.ndarray) -> None:
    off = np.abs(got - want)
    assert off.max() <= SWIVEL_OFF
    assert (off > 0).mean() <= SWIVEL_SHARE


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [32, 64, 96, 224])
def test_the_seed_set_is_made_as_on_the_cpu(kind: str, side: int):
    images = images_of(kind, side, EACH).repeat(6, axis=0)
    applied = np.tile(np.arange(6), EACH)
    got, want = in_batch(SEED_SET, images, applied), one_by_one(SEED_SET, images, applied)
    swivelled = applied == SEED_SET.names.index("swivel")
    np.testing.assert_array_equal(got[~swivelled], want[~swivelled])
    assert_swivelled(got[swivelled], want[swivelled])


@pytest.mark.parametrize(
    "step",
    [
        Step(op="brightness", params={"factor": 0.7}),
        Step(op="brightness", params={"factor": 3.3}),
        Step(op="rotate", params={"quarter_turns": 2}),
        Step(op="rotate", params={"quarter_turns": -1}),
        Step(op="sketch", params={"sigma": 0.2}),
        Step(op="sketch", params={"sigma": 40.0}),  # a kernel wider than the image
        Step(op="swivel", params={"degrees": -55.0}),
        Step(op="swivel", params={"degrees": 4.0}),
    ],
    ids=lambda step: f"{step.op} {next(iter(step.params.values()))}",
)
def test_other_parameters_and_an_odd_side(step: Step):
    chosen = set_of(Augmentation(name="own", steps=(step,)))
    images, applied = images_of("photo", 63, 6), np.ones(6, np.int64)
    got, want = in_batch(chosen, images, applied), one_by_one(chosen, images, applied)
    if step.op == "swivel":
        assert_swivelled(got, want)
    else:
        np.testing.assert_array_equal(got, want)


def test_sketch_of_flat_greys_is_exact_at_every_level():
    levels = np.arange(256, dtype=np.uint8)[:, None, None, None]
    images = np.broadcast_to(levels, (256, 32, 32, 3)).copy()
    images[:, 10:20, 8:] = 255  # paper beside it
    applied = np.full(256, SEED_SET.names.index("sketch"))
    got = in_batch(SEED_SET, images, applied)
    np.testing.assert_array_equal(got, one_by_one(SEED_SET, images, applied))
    assert (got[255] == 255).all()


def test_steps_follow_one_another():
    steps = tuple(step for name in SEED_SET.names[:5] for step in SEED_SET[name].steps)
    chosen = set_of(Augmentation(name="all", steps=(*steps[::-1], *steps)))
    images, applied = images_of("photo", 48, 5), np.array([1, 0, 1, 1, 0])
    got, want = in_batch(chosen, images, applied), one_by_one(chosen, images, applied)
    np.testing.assert_array_equal(got, want)
    assert (got[0] != images[0]).any()


def test_a_mixed_batch_is_each_alone_in_order_and_leaves_the_images():
    rng = np.random.default_rng(0)
    images, applied = images_of("photo", 40, 23), rng.integers(0, 6, 23)
    boxes = RandomCrops(seed=1, flip=True).boxes(1, 23, 40)
    before = images.copy()
    together = in_batch(SEED_SET, images, applied, boxes)
    for row in range(23):
        own = slice(row, row + 1)
        alone = in_batch(SEED_SET, images[own], applied[own], boxes[own])
        np.testing.assert_array_equal(alone, together[own])
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("number", range(6))
def test_a_batch_of_one_kind_leaves_the_other_groups_empty(number: int):
    images, applied = images_of("drawing", 32, 3), np.full(3, number)
    got = in_batch(SEED_SET, images, applied)
    np.testing.assert_array_equal(got, one_by_one(SEED_SET, images, applied))


BOXES = {
    "whole": (0, 0, 64, 64, 0),
    "inside": (5, 9, 50, 47, 0),
    "beyond everywhere": (-6, -4, 75, 72, 0),
    "beyond on one side": (20, 3, 60, 58, 0),
    "mirrored": (3, 0, 57, 60, 1),
    "mirrored and beyond": (-9, 12, 61, 66, 1),
    "one pixel": (30, 31, 1, 1, 0),
    "beside the image": (80, 2, 20, 30, 0),
}


def seen_through(image: np.ndarray, box: tuple[int, ...], size: int) -> np.ndarray:
    left, top, width, height, mirrored = box
    wide = np.pad(image, ((99, 99), (99, 99), (0, 0)), constant_values=255)
    cut = wide[top + 99 : top + 99 + height, left + 99 : left + 99 + width]
    seen = cv2.resize(cut, (size, size), interpolation=cv2.INTER_LINEAR)
    return seen[:, ::-1] if mirrored else seen


@pytest.mark.parametrize("size", [64, 48, 32, 41, 80])
def test_windows_show_what_cv2_resizes(size: int):
    images, boxes = images_of("noise", 64, len(BOXES)), list(BOXES.values())
    got = crop_and_resize_batch(
        torch.from_numpy(images), torch.tensor(boxes, dtype=torch.float32), size
    )
    assert got.dtype == torch.uint8
    for name, image, box, shown in zip(BOXES, images, boxes, got.numpy(), strict=True):
        np.testing.assert_array_equal(shown, seen_through(image, box, size), err_msg=name)
    assert (got[-1] == 255).all()


@pytest.mark.parametrize("size", [96, 72])
def test_drawn_windows_and_augmentations_are_those_of_the_cpu(size: int):
    images, applied = images_of("photo", 96, 60), np.tile(np.arange(5), 12)  # all but swivel
    boxes = RandomCrops(seed=0, flip=True).boxes(3, 60, 96)
    assert set(boxes[:, 4]) == {0, 1}
    seen = [crop_and_resize(*each, size) for each in zip(images, boxes, strict=True)]
    got = in_batch(SEED_SET, images, applied, boxes, size)
    np.testing.assert_array_equal(got, one_by_one(SEED_SET, np.stack(seen), applied))


def test_a_size_alone_shows_whole_images():
    images, applied = images_of("photo", 64, 3), np.array([0, 3, 4])
    smaller = np.stack([seen_through(image, BOXES["whole"], 48) for image in images])
    got = in_batch(SEED_SET, images, applied, size=48)
    np.testing.assert_array_equal(got, one_by_one(SEED_SET, smaller, applied))


def test_batches_are_normalised_as_served_and_channels_last():
    normalizer = Normalizer(IMAGENET_MEAN, IMAGENET_STD)
    images, applied = images_of("noise", 64, 10), np.arange(10) % 5
    batch = BatchAugmenter(SEED_SET, normalizer, CPU)(torch.from_numpy(images), applied)
    assert batch.dtype == torch.float32
    assert batch.shape == (10, 3, 64, 64)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    want = normalizer.batch(list(one_by_one(SEED_SET, images, applied)))
    np.testing.assert_allclose(batch.numpy(), want, rtol=0, atol=1e-6)


@pytest.fixture
def coarse_products() -> Iterator[None]:
    """Multiply float32 matrices at reduced precision, as a training process may do."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("coarse_products")
def test_precision_of_the_network_does_not_reach_the_images():
    images, applied = images_of("photo", 96, 5), np.arange(5)
    got = in_batch(SEED_SET, images, applied)
    np.testing.assert_array_equal(got, one_by_one(SEED_SET, images, applied))


class Launched(TorchDispatchMode):
    """Count the operations that would be kernels on a GPU."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += not function.is_view
        return function(*args, **(kwargs or {}))


def test_a_call_launches_about_a_hundred_kernels_however_large_the_batch():
    made = BatchAugmenter(SEED_SET, BYTES, CPU)

    def launched(count: int) -> int:
        images = torch.zeros(count, 32, 32, 3, dtype=torch.uint8)
        boxes = torch.tensor([[1.0, 1, 30, 30, 0]]).expand(count, 5)
        made(images, np.arange(count) % 6, boxes)  # makes the tables
        with Launched() as mode:
            made(images, np.arange(count) % 6, boxes)
        return mode.count

    assert launched(6) == launched(60) <= 105


def test_a_call_asks_for_no_value_on_the_device():
    made, applied = BatchAugmenter(SEED_SET, BYTES, CPU), np.arange(12) % 6
    images, boxes = torch.zeros(12, 32, 32, 3, dtype=torch.uint8), torch.ones(12, 5)
    want = made(images, applied, boxes, 24)  # makes the tables
    with FakeTensorMode(allow_non_fake_inputs=True) as without_values:  # asking for one raises
        fake = without_values.from_tensor(images), applied, without_values.from_tensor(boxes)
        assert made(*fake, 24).shape == want.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_makes_the_same_without_waiting():
    device = torch.device("cuda")
    made = BatchAugmenter(SEED_SET, BYTES, device)
    images, applied = images_of("photo", 96, 30), np.arange(30) % 6
    boxes = RandomCrops(seed=0, flip=True).boxes(1, 30, 96)
    inputs = (
        torch.from_numpy(images).to(device),
        applied,
        torch.tensor(boxes).float().to(device),
    )
    made(*inputs)  # makes the tables
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = made(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    got = batch.permute(0, 2, 3, 1).cpu().numpy()
    assert_swivelled(got, in_batch(SEED_SET, images, applied, boxes))
    exact = applied != SEED_SET.names.index("swivel")
    np.testing.assert_array_equal(got[exact], in_batch(SEED_SET, images, applied, boxes)[exact])


def test_albumentations_are_not_made_in_batches():
    email = augmentation_set("email", seed=0)
    assert BatchAugmenter.supports_all(SEED_SET)
    assert not BatchAugmenter.supports_all(email)
    assert [BatchAugmenter.supports(item) for item in email.augmentations[:2]] == [True, False]
    mixed = Augmentation(name="half", steps=(*SEED_SET["rotate"].steps, Step(op="HorizontalFlip")))
    message = r"expected only the operations brightness, .* got half\. Apply them"
    with pytest.raises(DataError, match=message):
        BatchAugmenter(set_of(SEED_SET["darker"], mixed), BYTES, CPU)


@pytest.mark.parametrize("applied", [[0, 1], [0, 1, 6], [-1, 0, 1]])
def test_what_is_applied_must_fit_images_and_set(applied: list[int]):
    images = images_of("drawing", 32, 3)
    with pytest.raises(ValueError, match="expected an augmentation, 0 to 5, for each of 3 images"):
        in_batch(SEED_SET, images, np.array(applied))
