"""Embeddings: features and logits of images, in one pass.

What computes them is an ``Embedder``: the trained network itself, or a graph that was made of it
(``training/graphs``).
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.backbone.loader import EVALUATION_BATCH, BatchLoader
from training.backbone.model import Backbone
from training.backbone.train import TrainedBackbone
from training.common.context import TrainContext
from training.common.device import Device
from training.data.dataset import Dataset
from training.data.embedding_cache import EmbeddingStore
from training.data.samples import Samples

CHUNK = 8192  # images that are yielded together


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings of distinct (file, augmentation) pairs, with a key for each."""

    features: NDArray[np.float32]  # (M, F)
    logits: NDArray[np.float32]  # (M, A)
    keys: NDArray[np.int64]  # (M,) sorted: file x augmentations + augmentation
    augmentations: int  # number of augmentations of a file

    @classmethod
    def from_features(
        cls,
        backbone: Backbone,
        features: NDArray[np.float32],
        keys: NDArray[np.int64],
        augmentations: int,
    ) -> "EmbeddingTable":
        """Make a table with the logits that the backbone's last layer computes from features."""
        return cls(features, backbone.logits(features), keys, augmentations)

    def rows(self, file: NDArray[np.int64], applied: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of pairs, int64 of the same shape.

        Raises:
            KeyError: a pair was not embedded.
        """
        wanted = pair_keys(file, applied, self.augmentations)
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        if not np.array_equal(self.keys[rows], wanted):
            raise KeyError("an image that was not embedded")
        return rows


def pair_keys(
    file: NDArray[np.int64], applied: NDArray[np.int64], augmentations: int
) -> NDArray[np.int64]:
    """Return one number for each (file, augmentation) pair."""
    return file * augmentations + applied


class Embedder(Protocol):
    """Computes the features of images."""

    @property
    def width(self) -> int:
        """The number of features, F."""

    @property
    def digest(self) -> str:
        """Hash of what its features depend on, besides image, augmentation and normalisation."""

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """Embed normalised images, float32 (N, 3, S, S); return features (N, F)."""


class TorchEmbedder:
    """The trained network, with batch normalisation folded into the convolutions.

    It computes in the precision of training: bfloat16 is several times faster where the hardware
    supports it, and heads round features more coarsely than bfloat16 does (``training/heads``).

    Args:
        backbone: trained.
        device: where it computes, and how precisely.
        exact: use the unfolded network in float32, which the parity gate compares with.
    """

    def __init__(self, backbone: Backbone, device: Device, *, exact: bool = False) -> None:
        self._exact, self._dtype = exact, torch.float32 if exact else device.dtype
        self._network = backbone.eval() if exact else backbone.folded().to(self._dtype)
        self.width = backbone.feature_width
        self.digest = f"{backbone.digest()} {device.name} {exact}"

    def __call__(self, images: Tensor) -> NDArray[np.float32]:
        """Embed normalised images, float32 (N, 3, S, S); return features (N, F)."""
        no_tf32 = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
        with no_tf32 if self._exact else nullcontext(), torch.inference_mode():
            features: Tensor = self._network(images.to(self._dtype))[0]
            return features.float().cpu().numpy()


def embed(
    embedder: Embedder,
    loader: BatchLoader,
    keys: NDArray[np.int64],
    augmentations: int,
    ctx: TrainContext,
) -> Iterator[tuple[slice, NDArray[np.float32] | None]]:
    """Compute features of images, chunk by chunk.

    Args:
        embedder: computes them.
        loader: makes the images.
        keys: of ``pair_keys``.
        augmentations: number of augmentations.
        ctx: progress, and the processes that share the work.

    Yields:
        Keys, and their features, float32 (keys, F), or None outside the main process.
    """
    world = ctx.world
    chunks = [slice(begin, min(begin + CHUNK, len(keys))) for begin in range(0, len(keys), CHUNK)]
    shards = [keys[chunk][world.shard(chunk.stop - chunk.start)] for chunk in chunks]
    own_keys = np.concatenate([*shards, np.empty(0, np.int64)])
    applied = own_keys % augmentations
    batches = loader.in_order(Samples(own_keys // augmentations, applied, applied))
    rows = [np.empty((0, embedder.width), np.float32)]
    with ctx.reporter.bar("Embedding", len(keys), "images") as advance:
        for chunk, shard in zip(chunks, shards, strict=True):
            while sum(map(len, rows)) < len(shard):
                ctx.threads.follow()
                batch = next(batches)
                rows.append(embedder(batch))
                advance(len(batch) * world.size)
            features = np.concatenate(rows)
            rows = [features[len(shard) :]]
            yield chunk, world.gather(features[: len(shard)])


def embed_dataset(
    data: Dataset,
    trained: TrainedBackbone,
    embedder: Embedder,
    keys: NDArray[np.int64],
    ctx: TrainContext,
) -> EmbeddingTable | None:
    """Embed images of a dataset, except those that the cache has.

    Embeddings of an interrupted call come from the run's cache. With a frozen backbone, other runs
    embed with the same weights, so they share them.

    Args:
        data: the images.
        trained: how they are normalised.
        embedder: computes them.
        keys: of ``pair_keys``, sorted.
        ctx: progress, and the processes that share the work.

    Returns:
        The table; None outside the main process (rank 0).
    """
    config, world, count = data.config, ctx.world, len(data.augmentations.names)
    names = data.pair_names(keys)
    store = EmbeddingStore(
        (config.cache if config.freeze else None) or data.folder.cache,
        trained.images_digest(config.image_size, embedder.digest),
        embedder.width,
        config.cache_gb,
        ctx.reporter.say,
    )
    stored = True
    with store.locked() if world.is_main else nullcontext():
        cached = store.read(names) if world.is_main else None
        missing = world.broadcast(None if cached is None else cached[1])
        assert missing is not None
        loader = trained.loader(data, EVALUATION_BATCH, ctx)
        for chunk, features in embed(embedder, loader, keys[missing], count, ctx):
            if cached is not None and features is not None:
                cached[0][missing[chunk]] = features
                chunk_names = [names[number] for number in missing[chunk]]
                stored = stored and store.add(chunk_names, features)
    if not stored:
        ctx.reporter.say("The cache is full: embeddings will be computed again next time.")
    if cached is None:
        return None
    return EmbeddingTable.from_features(trained.backbone, cached[0], keys, count)


def embed_all(
    embedder: Embedder,
    backbone: Backbone,
    loader: BatchLoader,
    keys: NDArray[np.int64],
    augmentations: int,
    ctx: TrainContext,
) -> EmbeddingTable:
    """Embed images in one process, without the cache.

    Args:
        embedder: computes them.
        backbone: whose last layer computes the logits.
        loader: makes the images.
        keys: of ``pair_keys``, in any order; duplicates are embedded once.
        augmentations: number of augmentations.
        ctx: device and progress.
    """
    keys = np.unique(keys)
    features = np.empty((len(keys), embedder.width), np.float32)
    for chunk, part in embed(embedder, loader, keys, augmentations, ctx):
        features[chunk] = part
    return EmbeddingTable.from_features(backbone, features, keys, augmentations)
