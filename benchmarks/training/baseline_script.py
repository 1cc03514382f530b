"""A script that a user would write: one process, PIL, eager float32, no cache of decoded images.

    python -m benchmarks.training.baseline_script --images DIR --backbone resnet18 \
      --image-size 96 --epochs 10

The same job as ``fit`` without targets, on the same splits: recognise augmentations. Optimizer and
schedule are those of the first experiments; the epoch that validates best is tested. The JSON line
holds ``seconds`` and ``accuracy``.
"""

import argparse
import json
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from augrank.images.augmentations import augmentation_set
from training.data.splits import TEST, TRAIN, VALIDATION, split_originals

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Loader = DataLoader[tuple[Tensor, int]]


class Candidates(Dataset[tuple[Tensor, int]]):
    """Every augmentation of every image, computed when it is read."""

    def __init__(self, files: list[Path], size: int, *, crop: bool) -> None:
        self._files, self._augmentations = files, augmentation_set("seed", 0).augmentations
        self._resize = transforms.Resize((size, size))
        steps = [transforms.RandomAffine(0, (0.025, 0.025), (0.95, 1.05), fill=255)]
        self._transform = transforms.Compose(
            [*(steps if crop else []), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self._files) * len(self._augmentations)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        file, label = divmod(number, len(self._augmentations))
        with Image.open(self._files[file]) as opened:
            image = self._resize(opened.convert("RGB"))
        augmented = self._augmentations[label].apply(np.asarray(image))
        return self._transform(Image.fromarray(augmented)), label


def parse_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def make_loaders(options: argparse.Namespace) -> dict[int, Loader]:
    """Split the originals and return a loader for each part."""
    files = sorted(options.images.rglob("*.jpg"))
    names = [file.relative_to(options.images).as_posix() for file in files]
    split = split_originals(names, test_share=0.2, validation_share=0.15, seed=options.seed)
    loaders = {}
    for part in (TRAIN, VALIDATION, TEST):
        train = part == TRAIN
        chosen = [file for file, other in zip(files, split, strict=True) if other == part]
        data = Candidates(chosen, options.image_size, crop=train)
        loaders[part] = DataLoader(data, options.batch_size, shuffle=train, drop_last=train)
    return loaders


def train(network: nn.Module, loaders: dict[int, Loader], epochs: int) -> None:
    """Train, and leave the weights of the epoch that validates best in the network."""
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", patience=3)
    cross_entropy = nn.CrossEntropyLoss()
    best, weights = -1.0, network.state_dict()
    for _ in range(epochs):
        network.train()
        for images, labels in loaders[TRAIN]:
            optimizer.zero_grad()
            loss = cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
        score = accuracy(network, loaders[VALIDATION])
        schedule.step(score)
        if score > best:
            best, weights = score, deepcopy(network.state_dict())
    network.load_state_dict(weights)


def accuracy(network: nn.Module, loader: Loader) -> float:
    """Return the share of augmentations recognised."""
    network.eval()
    hits = total = 0
    with torch.no_grad():
        for images, labels in loader:
            hits += int((network(images).argmax(1) == labels).sum())
            total += len(labels)
    return hits / total


def main() -> None:
    """Train and test."""
    options = parse_options()
    start = time.perf_counter()
    torch.manual_seed(options.seed)
    loaders = make_loaders(options)
    network = getattr(torchvision.models, options.backbone)(num_classes=6)
    train(network, loaders, options.epochs)
    tested = accuracy(network, loaders[TEST])
    print(json.dumps({"seconds": time.perf_counter() - start, "accuracy": tested}))


if __name__ == "__main__":
    main()
